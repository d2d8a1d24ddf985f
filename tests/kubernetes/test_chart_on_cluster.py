"""A real API server takes what the chart and the launcher make, and its accounts may do what they must and no more.

Here: dry runs, that the server answers as if it did it, and questions about rights. Nothing starts. Not here: what the
objects say (test_chart.py), pods at work (test_spot.py).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from chart import CHART, EXAMPLES, dagster_objects, helm, profiles, rendered, run_job, with_stub
from cluster import Cluster
from dagster import DagsterRun
from processes import ClusterError, run

from orchestration.launch.coordinator import tags_of

SMALL, ON_PREMISE, GPU = (CHART / "examples" / f"{name}.yaml" for name in ("small", "on-premise", "gpu"))
ACCOUNTS = ("ServiceAccount", "Role", "RoleBinding")
each_example = pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace as docs/kubernetes.md makes it; workloads whose pods it would refuse are complained of, too."""
    standard = "pod-security.kubernetes.io"
    cluster.kubectl("label", "namespace", namespace, f"{standard}/enforce=restricted", f"{standard}/warn=restricted")
    return namespace


def apply_accounts(cluster: Cluster, namespace: str, values: Path) -> None:
    """For good, until the namespace goes."""
    apply(cluster, [item for item in rendered(values, namespace=namespace) if item["kind"] in ACCOUNTS])


def jobs(values: Path, namespace: str) -> dict[str, dict[str, Any]]:
    """Profile to the Job of a run whose asset asks for it, tagged as the run coordinator does."""
    table = profiles(values)
    tags = {name: tags_of(table, DagsterRun(job_name="__ASSET_JOB"), {"an_asset": name}) for name in table.profiles}
    return {name: run_job(values, tags=found, namespace=namespace) for name, found in tags.items()}


def apply(cluster: Cluster, items: list[dict[str, Any]], *options: str) -> list[str]:
    """What the server says of each object; raises ClusterError when it refuses one, or warns of it."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    words = ["apply", "--server-side", "--warnings-as-errors", "-f", "-", *options]
    return cluster.kubectl(*words, input=given).splitlines()


def may(cluster: Cluster, account: str, verb: str, what: str, namespace: str, where: str) -> bool:
    """Whether a service account of `namespace` may do that in the namespace `where`."""
    user = f"--as=system:serviceaccount:{namespace}:{account}"
    try:
        answer = cluster.kubectl("auth", "can-i", verb, what, user, "--namespace", where)
    except ClusterError as error:  # a no is an exit code, too
        answer = str(error).rpartition("ended with 1: ")[2]
    assert answer.strip() in ("yes", "no"), answer
    return answer.strip() == "yes"


def rights(cluster: Cluster, account: str, namespace: str, where: str) -> list[str]:
    """All that a service account may do in the namespace `where`, as kubectl lists it."""
    user = f"--as=system:serviceaccount:{namespace}:{account}"
    return sorted(cluster.kubectl("auth", "can-i", "--list", user, "--namespace", where).splitlines())


@each_example
def test_the_server_takes_all_of_it_and_every_profile_s_run(cluster: Cluster, restricted: str, values: Path) -> None:
    apply_accounts(cluster, restricted, values)  # a pod is refused where its account is not there yet
    both = [*rendered(values, namespace=restricted), *dagster_objects(values, namespace=restricted)]
    objects = [item for item in both if item["kind"] != "ExternalSecret"]
    made = jobs(values, restricted)
    assert {"io", "cpu", "gpu", "train"} <= set(made)
    said = apply(cluster, [*objects, *made.values()], "--dry-run=server")
    assert len(said) == len(objects) + len(made)
    assert all(line.endswith("serverside-applied (server dry run)") for line in said), said
    assert not cluster.kubectl("get", "jobs,deployments", "--namespace", restricted, "--output=name")


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("nodeSelectr",), {"groundplan/pool": "spot"}, 'unknown field "nodeSelectr"'),
        (("tolerations", 0, "effect"), "Never", 'Unsupported value: "Never"'),
        (("containers", 0, "resources", "limits", "memory"), "twelve", "quantities must match"),
        (("containers", 0, "resources", "limits", "memory"), "1Mi", "must be less than or equal to memory limit"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "would violate PodSecurity"),
    ],
)
def test_the_server_refuses_what_is_broken(
    cluster: Cluster, restricted: str, path: tuple[Any, ...], value: Any, complaint: str
) -> None:
    """Or else the test above could not fail. Names of fields are compared by kubectl with what the server declares."""
    job = jobs(SMALL, restricted)["io"]
    *above, last = path
    place = job["spec"]["template"]["spec"]
    for key in above:
        place = place[key]
    place[last] = value
    with pytest.raises(ClusterError, match=re.escape(complaint)):
        apply(cluster, [job], "--dry-run=server")


def test_a_run_may_do_nothing_and_dagster_starts_runs_here_only(cluster: Cluster, namespace: str) -> None:
    apply_accounts(cluster, namespace, SMALL)
    for where in (namespace, "default"):
        for verb, what in (("list", "pods"), ("create", "jobs"), ("get", "secrets"), ("create", "pods/exec")):
            assert not may(cluster, "groundplan-run", verb, what, namespace, where), f"{verb} {what} in {where}"
        nothing = rights(cluster, "nobody", namespace, where)
        assert rights(cluster, "groundplan-run", namespace, where) == nothing, "no more than an account without a role"
    for verb, what, here in (
        ("create", "jobs", True),
        ("delete", "jobs", True),
        ("get", "jobs/status", True),
        ("list", "pods", True),
        ("delete", "pods", True),
        ("get", "pods/log", True),
        ("create", "pods", False),
        ("patch", "pods", False),
        ("patch", "jobs", False),
        ("create", "pods/exec", False),
        ("get", "secrets", False),
        ("list", "secrets", False),
        ("get", "configmaps", False),
        ("create", "rolebindings", False),
        ("create", "serviceaccounts/token", False),
    ):
        assert may(cluster, "groundplan-dagster", verb, what, namespace, namespace) is here, f"{verb} {what}"
        assert not may(cluster, "groundplan-dagster", verb, what, namespace, "default"), f"{verb} {what} elsewhere"


def test_two_projects_are_installed_in_two_namespaces(cluster: Cluster, namespace: str) -> None:
    """And one is upgraded beside the other. No pod of them starts here: its image is in no registry."""
    other = f"{namespace}-2"
    cluster.kubectl("create", "namespace", other)
    words = ["groundplan", str(with_stub()), f"--kubeconfig={cluster.kubeconfig}", f"--values={GPU}"]
    try:
        for place in (namespace, other):
            run(helm(), "install", *words, "--namespace", place)
        run(helm(), "upgrade", *words, "--namespace", other, "--set", "settings.extra.model.minutes=60")
        kept = {place: cluster.kubectl_json("get", "deployments", "-n", place)["items"] for place in (namespace, other)}
        assert len(kept[namespace]) == len(kept[other]) == 3
        changed = {one["metadata"]["name"] for one in kept[other] if one["metadata"]["generation"] > 1}
        assert changed == {"groundplan-code"}, "what read the old settings, and nothing else"
    finally:
        for place in (namespace, other):
            run(helm(), "uninstall", "groundplan", f"--kubeconfig={cluster.kubeconfig}", "--namespace", place)
        cluster.kubectl("delete", "namespace", other, "--wait=false")


def test_a_run_s_pod_has_the_pull_secrets_of_its_account_and_no_token(cluster: Cluster, restricted: str) -> None:
    """Also: the namespace's standard lets the pod itself in, not only its Job."""
    apply_accounts(cluster, restricted, ON_PREMISE)
    template = jobs(ON_PREMISE, restricted)["io"]["spec"]["template"]
    pod = {**template, "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["namespace"] = restricted
    spec = json.loads(cluster.kubectl("create", "--dry-run=server", "--output=json", "-f", "-", input=json.dumps(pod)))[
        "spec"
    ]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert {item["name"] for item in spec["volumes"]} == {"groundplan", "tmp"}, "no volume with a token"
