"""The preview server in the chart: off by default; on, it may read the store and nothing else. No cluster is needed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from chart import CHART, rendered
from test_chart import SMALL, one, refused, selects

from groundplan import config

GPU = CHART / "examples" / "gpu.yaml"
URL = "https://maps.example.org/gp/"
ON = [
    "--set",
    "previews.enabled=true",
    "--set",
    f"previews.url={URL}",
    "--set",
    "previews.dagsterUrl=https://d.example",
]


def server(*options: str, values: Any = SMALL) -> dict[str, Any]:
    return one(rendered(values, options=[*ON, *options]), "Deployment", "groundplan-previews")


def test_it_is_off_until_somebody_wants_it() -> None:
    names = [item["metadata"]["name"] for item in rendered(SMALL)]
    assert "groundplan-previews" not in names
    assert "[serving]" not in one(rendered(SMALL), "ConfigMap", "groundplan")["data"]["groundplan.toml"]


def test_assets_learn_its_address() -> None:
    text = one(rendered(SMALL, options=ON), "ConfigMap", "groundplan")["data"]["groundplan.toml"]
    serving = config.parse(tomllib.loads(text), "the chart").serving
    assert (serving.url, serving.dagster_url) == ("https://maps.example.org/gp", "https://d.example")
    assert "groundplan-previews.groundplan.svc.cluster.local" in serving.hosts, "by which the cluster names it"
    assert serving.proxies == ()
    behind = [*ON, "--set", "previews.proxies={10.244.0.0/16}"]
    text = one(rendered(SMALL, options=behind), "ConfigMap", "groundplan")["data"]["groundplan.toml"]
    assert config.parse(tomllib.loads(text), "the chart").serving.proxies == ("10.244.0.0/16",)


def test_it_has_a_secret_of_its_own_that_only_reads() -> None:
    """That of the runs writes, and may hold a mail server's password too."""
    [container] = server()["spec"]["template"]["spec"]["containers"]
    secrets = [item["secretRef"] for item in container["envFrom"] if "secretRef" in item]
    assert secrets == [{"name": "groundplan-store-read"}], "and not optional: without it nothing is read"
    reader = "--set=cloud.identity.previews=reader@groundplan.iam.gserviceaccount.com"
    [container] = server(reader, values=GPU)["spec"]["template"]["spec"]["containers"]
    assert not [item for item in container["envFrom"] if "secretRef" in item]


def test_a_secret_from_a_vault_is_another_one_than_that_of_the_runs() -> None:
    values, name = CHART / "examples" / "on-premise.yaml", "externalSecrets.storeRead.AWS_ACCESS_KEY_ID.key"
    told = refused(*ON, "--set", "externalSecrets.storeRead=null", values=values)
    assert "externalSecrets.storeRead is empty, and previews are enabled" in told
    objects = rendered(values, options=[*ON, "--set", f"{name}=groundplan/reader"])
    secret = one(objects, "ExternalSecret", "groundplan-store-read")["spec"]
    assert secret["target"] == {"name": "groundplan-store-read"}
    assert secret["data"][0]["remoteRef"] == {"key": "groundplan/reader"}


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("", "cloud.identity.previews is not set, and that of the runs may write"),
        (
            "groundplan-run@groundplan.iam.gserviceaccount.com",
            "cloud.identity.previews is cloud.identity.run, which may",
        ),
    ],
)
def test_the_runs_identity_is_refused(identity: str, words: str) -> None:
    assert words in refused(*ON, "--set", f"cloud.identity.previews={identity}", values=GPU)


def test_its_pod_is_hardened_bounded_and_has_no_token_and_no_database() -> None:
    spec = server()["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["serviceAccountName"] == "groundplan-previews"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["limits"])
    assert "env" not in container, "no password of the database"
    assert container["args"][:2] == ["groundplan", "serve"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_its_account_may_do_nothing_and_opens_the_store() -> None:
    objects = rendered(GPU, options=[*ON, "--set", "cloud.identity.previews=reader@groundplan.iam.gserviceaccount.com"])
    account = one(objects, "ServiceAccount", "groundplan-previews")
    assert account["automountServiceAccountToken"] is False
    assert list(account["metadata"]["annotations"].values()) == ["reader@groundplan.iam.gserviceaccount.com"]
    bound = [subject["name"] for item in objects if item["kind"] == "RoleBinding" for subject in item["subjects"]]
    assert "groundplan-previews" not in bound


def test_its_service_and_policy_select_it_and_nothing_else_reaches_it() -> None:
    objects = rendered(SMALL, options=ON)
    labels = server()["spec"]["template"]["metadata"]["labels"]
    service = one(objects, "Service", "groundplan-previews")
    assert selects({"matchLabels": service["spec"]["selector"]}, labels)
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    mine = {item["metadata"]["name"] for item in policies if selects(item["spec"]["podSelector"], labels)}
    assert mine == {"groundplan-deny", "groundplan-previews"}
    policy = one(objects, "NetworkPolicy", "groundplan-previews")["spec"]
    assert policy["ingress"] == []
    reached = [[port["port"] for port in rule["ports"]] for rule in policy["egress"]]
    assert reached == [[53, 53], [9000]], "names, and the example's store"
    opened = one(
        rendered(SMALL, options=[*ON, "--set", "previews.from[0].namespaceSelector.matchLabels.name=ingress"]),
        "NetworkPolicy",
        "groundplan-previews",
    )["spec"]
    assert opened["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8081}]


def test_without_policies_there_is_none_for_it() -> None:
    objects = rendered(SMALL, options=[*ON, "--set", "networkPolicy.enabled=false"])
    assert not [item for item in objects if item["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("previews.url=", "previews.url is not set"),
        ("previews.nodes=fast", "previews.nodes names the node group 'fast'"),
        ("previews.url=maps.example.org", "/previews/url"),
        ("previews.replicas=0", "/previews/replicas"),
        ("previews.port=1", "/previews"),
    ],
)
def test_what_does_not_make_sense_is_refused(option: str, words: str) -> None:
    assert words in refused(*ON, "--set", option)
