"""The chart holds what it promises, for every example: least privilege, hardened and bounded pods, no secrets.

No cluster is needed. Dagster's own chart is not in this checkout: chart.py puts a stub in its place in a temporary
copy, so that `helm template` runs and shows the values that the real one would be given. Runs' pods are made from those
values by dagster-k8s's own code.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, EXAMPLES, dagster_values, helm, profiles, rendered, run_job, template, with_stub

from groundplan import config
from orchestration.launch.profiles import pod

POD_TAG = "dagster-k8s/config"
SMALL = CHART / "examples" / "small.yaml"
PROFILE_KEYS = {"cpu": str, "memory": str, "gpu": int, "disk": str, "nodes": str, "image": str, "priority_class": str}
each_example = pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    found = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def pods(values: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Every pod: name, spec, labels. Of Dagster's web server and daemon, what they are given."""
    for item in rendered(values):
        if item["kind"] == "Deployment":
            made = item["spec"]["template"]
            yield item["metadata"]["name"], made["spec"], made["metadata"]["labels"]
        elif item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"], item["metadata"]["labels"]
    given = dagster_values(values)
    job = run_job(values)["spec"]["template"]
    yield "a run", job["spec"], job["metadata"]["labels"]
    for key in ("dagsterWebserver", "dagsterDaemon"):
        part = given[key]
        container = {**part, "name": key}
        yield key, {**part, "securityContext": part["podSecurityContext"], "containers": [container]}, part["labels"]


def table_of(values: Path) -> dict[str, Any]:
    """The launch profiles as they are written."""
    text = one(rendered(values), "ConfigMap", "groundplan")["data"]["profiles.yaml"]
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def refused(*options: str, values: Path = SMALL) -> str:
    done = template(values, options=options)
    assert done.returncode != 0, "helm accepted it"
    return done.stderr


def with_values(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    return path


# ------------------------------------------------------------ the chart as such


def test_it_passes_lint_as_it_lies_here() -> None:
    done = subprocess.run([helm(), "lint", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout


@each_example
def test_it_passes_lint_with_each_example(values: Path) -> None:
    command = [helm(), "lint", str(CHART), "--strict=false", "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # lint turns our `fail` into words; with an example there must be none
    assert "funcMap fail" not in done.stdout + done.stderr


def test_the_examples_are_those_that_are_promised() -> None:
    assert {path.stem for path in EXAMPLES} == {"small", "gpu", "aws", "azure", "on-premise"}


def test_dagsters_chart_is_pinned_to_the_version_that_is_installed_and_can_be_switched_off() -> None:
    import dagster

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [dependency] = chart["dependencies"]
    assert dependency["name"] == "dagster"
    assert dependency["version"] == dagster.__version__
    assert dependency["condition"] == "dagster.enabled"
    with pytest.raises(IndexError):
        dagster_values(SMALL, options=["--set", "dagster.enabled=false"])
    assert rendered(SMALL, options=["--set", "dagster.enabled=false"])


@each_example
def test_every_object_is_in_the_release_s_namespace(values: Path) -> None:
    for item in rendered(values, namespace="elsewhere"):
        if item["kind"] != "PriorityClass":
            assert item["metadata"]["namespace"] == "elsewhere", item["metadata"]["name"]


# ------------------------------------------------------------ what pods read


@each_example
def test_the_settings_are_ones_that_groundplan_accepts(values: Path) -> None:
    data = one(rendered(values), "ConfigMap", "groundplan")["data"]
    settings = config.parse(tomllib.loads(data["groundplan.toml"]), "the chart")
    given = yaml.safe_load(values.read_text())
    assert settings.store == given["store"]["url"]
    assert settings.grid.crs == given["settings"]["grid"]["crs"]
    assert settings.grid.resolution == given["settings"]["grid"]["resolution"]
    assert settings.grid.block_size == given["settings"]["grid"]["blockSize"]
    for section, keys in given["settings"].get("extra", {}).items():
        for key, value in keys.items():
            held = getattr(getattr(settings, section), key)
            assert (list(held) if isinstance(held, tuple) else held) == value, f"{section}.{key}"


def test_where_deliveries_may_refer_to_reaches_the_settings() -> None:
    data = one(rendered(CHART / "examples" / "aws.yaml"), "ConfigMap", "groundplan")["data"]
    settings = config.parse(tomllib.loads(data["groundplan.toml"]), "the chart")
    assert settings.imagery.reference_roots == ("s3://beeldmateriaal/2024",)
    assert settings.imagery.quality == 85, "the other keys of the section stay"


def test_settings_of_every_type_come_through_unchanged(tmp_path: Path) -> None:
    odd = {
        "text": 'a "quoted" <line>\nwith \\ and é',
        "yes": True,
        "whole": 64,
        "big": 3000000000,
        "part": 0.1,
        "tiny": 1e-05,
        "none": [],
        "list": [1, 2.5, -3],
        "nested": {"a": 1, "b": "x"},
    }
    path = with_values(tmp_path, yaml.safe_dump({"settings": {"extra": {"section": odd}}}))
    data = one(rendered(SMALL, path), "ConfigMap", "groundplan")["data"]
    assert tomllib.loads(data["groundplan.toml"])["section"] == odd


@each_example
def test_the_profiles_have_the_form_that_the_coordinator_reads(values: Path) -> None:
    table = table_of(values)
    assert set(table) == {"images", "pull_policy", "nodes", "profiles", "assets", "grace_seconds"}
    assert set(table["images"]) == {"groundplan", "train"}
    assert {"io", "cpu", "gpu", "train"} <= set(table["profiles"])
    for name, profile in table["profiles"].items():
        told = {key: type(value) for key, value in profile.items() if key not in ("max_runs", "launch_seconds")}
        assert told == PROFILE_KEYS, name
        if name in ("io", "cpu", "gpu"):  # what small regions share runs by; a profile of one's own need not say it
            assert profile["launch_seconds"] == 10, name
        assert profile["nodes"] in table["nodes"]
        assert profile["image"] in table["images"]
    for group in table["nodes"].values():
        assert set(group) == {"selector", "prefer", "tolerations"}
    assert isinstance(table["assets"], dict)
    assert table["grace_seconds"] == 25


def test_a_profile_is_what_the_values_say() -> None:
    table = table_of(CHART / "examples" / "gpu.yaml")
    assert table["profiles"]["train"] == {
        "cpu": "7",
        "memory": "28Gi",
        "gpu": 1,
        "disk": "100Gi",
        "nodes": "gpu",
        "image": "train",
        "priority_class": "groundplan-train",
    }
    assert table["profiles"]["wide"]["max_runs"] == 7
    assert table["assets"] == {"predictions": "wide"}


@each_example
def test_each_profile_becomes_a_pod_as_the_coordinator_makes_it(values: Path) -> None:
    table = profiles(values)
    for name, profile in table.profiles.items():
        job = run_job(values, tags={POD_TAG: json.dumps(pod(table, name, profile))})
        spec = job["spec"]["template"]["spec"]
        [container] = spec["containers"]
        assert container["image"] == table.images[profile.image]
        assert container["resources"]["requests"] == container["resources"]["limits"], "nothing that is borrowed"
        assert container["resources"]["limits"]["memory"] == profile.memory
        assert container["resources"]["limits"].get("nvidia.com/gpu", "0") == str(profile.gpu)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert spec["nodeSelector"] == table.nodes[profile.nodes].selector
        tolerated = {item["key"] for item in spec["tolerations"]}
        assert {item["key"] for item in table.nodes[profile.nodes].tolerations} < tolerated
        assert spec["terminationGracePeriodSeconds"] == table.grace_seconds
        assert spec["serviceAccountName"] == "groundplan-run"
        names = [item["name"] for item in container["env"]]
        assert len(names) == len(set(names)), "a variable that stands twice cannot be applied by the server"


@pytest.mark.parametrize("wish", [True, False], ids=["prefer", "selector"])
def test_a_node_group_is_a_wish_or_a_must(wish: bool, tmp_path: Path) -> None:
    """With a wish runs go on elsewhere; what must be so is waited for. Pods of the chart's own go by the same."""
    labels = {"a/pool": "spot", "zone": "1"}
    group = {"prefer" if wish else "selector": labels, "tolerations": [{"key": "a/pool", "operator": "Exists"}]}
    profile = {"cpu": "1", "memory": "3Gi", "gpu": 0, "disk": "5Gi", "nodes": "spot", "image": "groundplan"}
    path = with_values(
        tmp_path, yaml.safe_dump({"nodes": {"spot": group}, "profiles": {"io": profile}, "code": {"nodes": "spot"}})
    )
    table = profiles(SMALL, path)
    tag = json.dumps(pod(table, "io", table.profiles["io"]))
    objects = rendered(SMALL, path)
    code = one(objects, "Deployment", "groundplan-code")["spec"]["template"]["spec"]
    test = one(objects, "Pod", "groundplan-test-store")["spec"]
    for spec in (run_job(SMALL, path, tags={POD_TAG: tag})["spec"]["template"]["spec"], code, test):
        assert spec.get("nodeSelector", {}) == ({} if wish else labels)
        wishes = [{"key": key, "operator": "In", "values": [value]} for key, value in labels.items()]
        preferred = [{"weight": 100, "preference": {"matchExpressions": wishes}}]
        wanted = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
        assert spec.get("affinity", {}) == (wanted if wish else {})
        assert spec["tolerations"][-1] == {"key": "a/pool", "operator": "Exists"}


# ------------------------------------------------------------ secrets and rights


@each_example
def test_there_is_no_secret_material(values: Path) -> None:
    objects = rendered(values)
    assert not [item for item in objects if item["kind"] == "Secret"]
    text = yaml.safe_dump_all([*objects, dagster_values(values)])
    given = r"(?i)(password|secret_?access_?key|account_?key|sas_?token)['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9/+]{6,}"
    assert not re.search(given, text)
    for item in objects:
        if item["kind"] == "ConfigMap":
            keys = set(item["data"]) - {"DAGSTER_K8S_PG_PASSWORD_SECRET"}  # the name of a Secret
            assert not re.search(r"(?i)password|access_key|secret|token", " ".join(keys))


@each_example
def test_only_dagster_may_ask_the_api_and_only_here(values: Path) -> None:
    objects = rendered(values)
    assert not [item for item in objects if item["kind"].startswith("ClusterRole")]
    [binding] = [item for item in objects if item["kind"] == "RoleBinding"]
    assert [subject["name"] for subject in binding["subjects"]] == ["groundplan-dagster"]
    assert binding["roleRef"]["kind"] == "Role"
    [role] = [item for item in objects if item["kind"] == "Role"]
    allowed = {f"{verb} {what}" for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    assert "*" not in " ".join(allowed)
    assert {"create jobs", "delete jobs", "get jobs/status", "list pods", "delete pods", "get pods/log"} <= allowed
    assert not {"create pods", "patch pods", "patch jobs", "get secrets", "create pods/exec"} & allowed
    account = one(objects, "ServiceAccount", "groundplan-run")
    assert account["automountServiceAccountToken"] is False


@each_example
def test_runs_and_code_location_have_no_token(values: Path) -> None:
    for name, spec, _ in pods(values):
        if not name.startswith("dagster"):
            assert spec["serviceAccountName"] == "groundplan-run", name
            assert spec["automountServiceAccountToken"] is False, name


@pytest.mark.parametrize(
    ("example", "key", "run", "dagster"),
    [
        (
            "aws",
            "eks.amazonaws.com/role-arn",
            "arn:aws:iam::123456789012:role/groundplan-run",
            "arn:aws:iam::123456789012:role/groundplan-dagster",
        ),
        (
            "azure",
            "azure.workload.identity/client-id",
            "11111111-1111-1111-1111-111111111111",
            "22222222-2222-2222-2222-222222222222",
        ),
        (
            "gpu",
            "iam.gke.io/gcp-service-account",
            "groundplan-run@groundplan.iam.gserviceaccount.com",
            "groundplan-dagster@groundplan.iam.gserviceaccount.com",
        ),
    ],
)
def test_accounts_carry_the_cloud_s_identity(example: str, key: str, run: str, dagster: str) -> None:
    objects = rendered(CHART / "examples" / f"{example}.yaml")
    assert one(objects, "ServiceAccount", "groundplan-run")["metadata"]["annotations"] == {key: run}
    assert one(objects, "ServiceAccount", "groundplan-dagster")["metadata"]["annotations"] == {key: dagster}


def test_on_azure_every_pod_has_the_label_that_its_webhook_looks_for() -> None:
    for name, _, labels in pods(CHART / "examples" / "azure.yaml"):
        assert labels["azure.workload.identity/use"] == "true", name


def test_secrets_from_a_vault_are_references() -> None:
    values = CHART / "examples" / "on-premise.yaml"
    objects = rendered(values)
    store = one(objects, "ExternalSecret", "groundplan-store")
    assert [item["secretKey"] for item in store["spec"]["data"]] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    database = one(objects, "ExternalSecret", "groundplan-database")
    assert database["spec"]["target"]["name"] == dagster_values(values)["global"]["postgresqlSecretName"]
    assert database["spec"]["data"][0]["secretKey"] == "postgresql-password"


# ------------------------------------------------------------ pods


@each_example
def test_every_pod_is_hardened_and_bounded(values: Path) -> None:
    seen = []
    for name, spec, _ in pods(values):
        seen.append(name)
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] == 10001, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            for bound in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][bound]), f"{name} {bound}"
            mounted = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] != "dagster"}
            assert mounted == {"/etc/groundplan", "/tmp"}, name
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert volumes["tmp"]["emptyDir"].get("sizeLimit") or name == "a run", name  # whose profile bounds it
        assert volumes["groundplan"]["configMap"]["name"] == "groundplan", name
    assert seen == ["groundplan-code", "groundplan-test-store", "a run", "dagsterWebserver", "dagsterDaemon"]


@each_example
def test_services_do_not_become_settings(values: Path) -> None:
    """A Service groundplan-x puts GROUNDPLAN_X_PORT into pods; groundplan would refuse it as an unknown key."""
    for name, spec, _ in pods(values):
        if not name.startswith("dagster"):
            assert spec["enableServiceLinks"] is False, name


@each_example
def test_a_run_s_pod_dies_as_documented(values: Path) -> None:
    given = dagster_values(values)
    job = run_job(values)
    spec = job["spec"]["template"]["spec"]
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] == profiles(values).grace_seconds < 30, "the shortest notice"
    lost = {item["key"]: item["tolerationSeconds"] for item in spec["tolerations"]}
    assert lost == {"node.kubernetes.io/unreachable": 30, "node.kubernetes.io/not-ready": 30}
    env = {item["name"]: item for item in spec["containers"][0]["env"]}
    assert env["DAGSTER_PG_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == given["global"]["postgresqlSecretName"]
    sources = [next(iter(item.values())) for item in spec["containers"][0]["envFrom"]]
    assert sources == [{"name": "groundplan-env"}, {"name": "groundplan-store", "optional": True}]


def test_a_profile_s_tags_stand_above_the_launcher_s_settings() -> None:
    tags = {
        "dagster-k8s/config": '{"container_config": {"image": "train:1", "resources": {"limits": {"cpu": "8"}}}, '
        '"pod_spec_config": {"node_selector": {"a/pool": "spot"}, "tolerations": [{"key": "a/pool"}]}}'
    }
    spec = run_job(SMALL, tags=tags)["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "train:1"
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "8", "memory": "4Gi", "ephemeral-storage": "10Gi"}
    assert [item["key"].split("/")[1] for item in spec["tolerations"]] == ["unreachable", "not-ready", "pool"]
    assert spec["serviceAccountName"] == "groundplan-run"


def test_a_run_s_job_goes_where_the_release_is() -> None:
    """Dagster's chart fills in nothing for a launcher that is not its own: the environment says it."""
    assert run_job(SMALL, namespace="elsewhere")["metadata"]["namespace"] == "elsewhere"
    for name in ("dagsterWebserver", "dagsterDaemon"):
        assert {"name": "groundplan-env"} in dagster_values(SMALL)[name]["envConfigMaps"]


def test_the_launcher_waits_for_an_api_that_is_away() -> None:
    launcher = dagster_values(SMALL)["runLauncher"]
    assert launcher["type"] == "CustomRunLauncher"
    told = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    patience = launcher["config"]["customRunLauncher"]["config"]["api_patience_seconds"]
    assert f"`api_patience_seconds: {patience}`" in told


# ------------------------------------------------------------ network, budgets, quotas


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; only what the chart uses."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(labels.get(item["key"]) in item["values"] for item in selector.get("matchExpressions", []))


@each_example
def test_policies_and_budgets_select_the_pods_that_they_are_for(values: Path) -> None:
    labels = {name: found for name, _, found in pods(values)}
    roles = {
        "groundplan-code": "code",
        "groundplan-test-store": "run",
        "a run": "run",
        "dagsterWebserver": "web",
        "dagsterDaemon": "daemon",
    }
    for item in rendered(values):
        if item["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            selector = item["spec"].get("podSelector", item["spec"].get("selector"))
            role = item["metadata"]["name"].removeprefix("groundplan-")
            taken = {roles[name] for name, found in labels.items() if selects(selector, found)}
            assert taken == (set(roles.values()) if role == "deny" else {role}), item["metadata"]["name"]
    budgets = [item["metadata"]["name"] for item in rendered(values) if item["kind"] == "PodDisruptionBudget"]
    assert sorted(budgets) == ["groundplan-code", "groundplan-daemon", "groundplan-web"]


@each_example
def test_nothing_is_reached_but_what_is_allowed(values: Path) -> None:
    objects = rendered(values)
    deny = one(objects, "NetworkPolicy", "groundplan-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress"]}
    run = one(objects, "NetworkPolicy", "groundplan-run")["spec"]
    assert run["policyTypes"] == ["Ingress", "Egress"]
    assert run["ingress"] == []
    given = yaml.safe_load(values.read_text())
    port = int((re.search(r":(\d+)$", given["store"].get("endpoint", "")) or [0, 443])[1])
    ports = [[item["port"] for item in rule["ports"]] for rule in run["egress"]]
    assert ports[:3] == [[53, 53], [given["database"].get("port", 5432)], [port]]
    assert [3030] in ports
    assert all(rule.get("to") for rule in run["egress"][1:]), "a rule without `to` opens the port to everywhere"
    web = one(objects, "NetworkPolicy", "groundplan-web")["spec"]
    assert bool(web["ingress"]) == bool(given.get("networkPolicy", {}).get("webFrom"))
    if web["ingress"]:
        listens = dagster_values(values)["dagsterWebserver"]["service"]["port"]
        assert web["ingress"][0]["ports"] == [{"protocol": "TCP", "port": listens}]


@each_example
def test_every_role_has_an_end_to_its_ways_out(values: Path) -> None:
    """Names apart, each rule says where to; the code location, which reads foreign files, reaches no API."""
    objects = rendered(values)
    given = yaml.safe_load(values.read_text())
    database = given["database"].get("port", 5432)
    reached = {}
    for role in ("web", "daemon", "code", "run"):
        spec = one(objects, "NetworkPolicy", f"groundplan-{role}")["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"], role
        assert all(rule.get("to") for rule in spec["egress"][1:]), role
        assert [item["port"] for item in spec["egress"][0]["ports"]] == [53, 53], role
        reached[role] = {item["port"] for rule in spec["egress"] for item in rule["ports"]}
        assert database in reached[role], role
    assert 6443 in reached["web"] & reached["daemon"]
    assert not {6443, 3030} & reached["code"]
    roles = {labels["groundplan/role"] for _, _, labels in pods(values)}
    assert roles == set(reached), "a pod whose way out nothing bounds"


def test_the_code_location_opens_foreign_files_in_a_process_without_the_database() -> None:
    from groundplan.ingest.looking import APART, cleaned

    code = one(rendered(SMALL), "Deployment", "groundplan-code")["spec"]["template"]["spec"]
    names = [item["name"] for item in code["containers"][0]["env"]]
    assert {APART, "DAGSTER_PG_PASSWORD"} <= set(names)
    assert cleaned(dict.fromkeys(names, "1")) == {}


@pytest.mark.parametrize(("key", "role"), [("codeTo", "code"), ("dagsterTo", "web"), ("dagsterTo", "daemon")])
def test_further_ways_out_are_opened_by_name(key: str, role: str, tmp_path: Path) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"protocol": "TCP", "port": 587}]}
    path = with_values(tmp_path, yaml.safe_dump({"networkPolicy": {key: [rule]}}))
    policies = [item for item in rendered(SMALL, path) if item["kind"] == "NetworkPolicy"]
    opened = {item["metadata"]["name"] for item in policies if rule in item["spec"].get("egress", [])}
    assert f"groundplan-{role}" in opened
    assert "groundplan-run" not in opened


# ------------------------------------------------------------ the log-in

LOGIN = [
    *("--set", "login.enabled=true", "--set", "login.image=registry.example.org/oauth2-proxy:7"),
    *("--set", "login.issuer=https://id.example.org", "--set", "login.emailDomains={example.org}"),
    *("--set", "previews.enabled=true", "--set", "previews.url=https://maps.example.org"),
    *("--set", "previews.dagsterUrl=https://dagster.example.org"),
]


def test_a_log_in_stands_before_the_map_and_the_web_ui() -> None:
    """Hardened like all else; it alone gets to what it guards, and nobody gets to it who is not named."""
    objects = rendered(SMALL, options=LOGIN)
    upstreams = {"map": "http://groundplan-previews:8081/", "dagster": "http://groundplan-webserver:8080/"}
    for name, upstream in upstreams.items():
        spec = one(objects, "Deployment", f"groundplan-login-{name}")["spec"]["template"]["spec"]
        [container] = spec["containers"]
        assert f"--upstream={upstream}" in container["args"]
        assert "--email-domain=example.org" in container["args"]
        assert [arg for arg in container["args"] if arg.startswith("--redirect-url=https://") and "oauth2" in arg]
        assert container["envFrom"] == [{"secretRef": {"name": "groundplan-login"}}]
        assert not [arg for arg in container["args"] if "secret" in arg]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (False, True)
        service = one(objects, "Service", f"groundplan-login-{name}")["spec"]
        assert selects({"matchLabels": service["selector"]}, {"groundplan/role": "login", "groundplan/login": name})
    mine = one(objects, "NetworkPolicy", "groundplan-login")["spec"]
    assert mine["ingress"] == []
    assert all(rule.get("to") for rule in mine["egress"][1:])
    for guarded in ("previews", "web"):
        [rule] = one(objects, "NetworkPolicy", f"groundplan-{guarded}")["spec"]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": {"groundplan/role": "login"}}}]
    assert not [item for item in rendered(SMALL) if "login" in item["metadata"]["name"]], "off until it is wanted"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("login.image=", "login.image is not set"),
        ("login.issuer=", "login.issuer is not set"),
        ("login.issuer=http://id.example.org", "/login/issuer"),
        ("login.emailDomains=null", "login.emailDomains is empty: nobody could log in"),
        ("login.emailDomains={*}", "/login/emailDomains"),
    ],
)
def test_a_log_in_that_guards_nothing_is_refused(option: str, words: str) -> None:
    assert words in refused(*LOGIN, "--set", option)


def test_a_log_in_before_nothing_is_refused() -> None:
    options = [*LOGIN, "--set", "previews.enabled=false", "--set", "previews.dagsterUrl="]
    assert "there is nothing to log in to" in refused(*options)


def test_whoever_opens_without_a_log_in_is_told() -> None:
    def notes(*options: str) -> str:
        command = [helm(), "install", "groundplan", str(with_stub()), "--dry-run=client", "--namespace", "groundplan"]
        done = subprocess.run([*command, "--values", str(SMALL), *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("NOTES:")[1]

    opened = ("--set", "networkPolicy.webFrom[0].namespaceSelector.matchLabels.name=ingress")
    assert "Neither the web UI nor the map has a log-in" in notes(*opened)
    assert "Neither" not in notes()
    assert "groundplan-login-map, port 4180" in notes(*LOGIN)
    assert "pod-security.kubernetes.io/enforce=restricted" in notes()


def test_runs_never_reach_the_node_s_metadata_but_on_google_where_it_gives_the_identity() -> None:
    def rules(example: str) -> str:
        objects = rendered(CHART / "examples" / f"{example}.yaml")
        return yaml.safe_dump(one(objects, "NetworkPolicy", "groundplan-run")["spec"])

    assert "except:\n      - 169.254.169.254/32" in rules("aws")
    assert "port: 988" not in rules("aws")
    assert "port: 988" in rules("gpu")


def test_classes_and_quota_are_made_only_when_asked_for() -> None:
    small, gpu = rendered(SMALL), rendered(CHART / "examples" / "gpu.yaml")
    assert not [item for item in small if item["kind"] in ("PriorityClass", "ResourceQuota")]
    assert one(gpu, "PriorityClass", "groundplan-train")["value"] == 1000
    assert one(gpu, "ResourceQuota", "groundplan")["spec"]["hard"] == {"requests.nvidia.com/gpu": "8", "pods": "100"}


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "stroe.url=s3://a/b"], ["stroe"]),
        (["--set", "store.uri=s3://a/b"], ["/store", "uri"]),
        (["--set", "store.url=https://a/b"], ["/store/url"]),
        (["--set", "store=null"], ["store"]),
        (["--set", "settings.grid.crs=Amersfoort"], ["/settings/grid/crs"]),
        (["--set", "settings.grid.blockSize=1000"], ["/settings/grid/blockSize", "256"]),
        (["--set", "profiles.cpu.memory=12GB"], ["/profiles/cpu/memory"]),
        (["--set", "profiles.cpu.memory=12"], ["/profiles/cpu/memory"]),
        (["--set", "profiles.cpu.cpu=four"], ["/profiles/cpu/cpu"]),
        (["--set", "profiles.cpu.cores=4"], ["/profiles/cpu", "cores"]),
        (["--set", "profiles.gpu.gpu=-1"], ["/profiles/gpu/gpu"]),
        (["--set", "nodes.spot.taints=x"], ["/nodes/spot", "taints"]),
        (["--set", "nodes.spot.prefer.pool=true"], ["/nodes/spot/prefer/pool"]),
        (["--set", "cloud.provider=amazon"], ["/cloud/provider", "aws"]),
        (["--set", "image.tag=a b"], ["/image/tag"]),
        (["--set", "settings.extra.model=7"], ["/settings/extra/model"]),
        (["--set", "database.port=postgres"], ["/database/port"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value[0] == "--set" else "",
)
def test_the_schema_refuses_and_names_the_key(options: list[str], words: list[str]) -> None:
    told = refused(*options)
    for word in words:
        assert word in told


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("store.url=", "store.url is not set. Say where objects are kept"),
        ("settings.grid.crs=", "settings.grid.crs is not set"),
        ("settings.grid.origin=null", "origin"),
        ("database.host=", "database.host is not set"),
        ("profiles.cpu.nodes=spots", "profiles.cpu.nodes names the node group 'spots', which is not in nodes. There"),
        ("profiles.cpu.image=torch", "profiles.cpu.image is 'torch'. It must be groundplan (image) or train"),
        ("assets.predictions=big", "assets.predictions names the profile 'big', which is not in profiles. There"),
        ("code.nodes=none", "code.nodes names the node group 'none'"),
        ("store.credentials=identity", "Set cloud.provider to aws, or store.credentials to secret"),
        ("store.region=", "store.region is not set"),
        ("store.url=az://box/nl", "store.endpoint is for s3:// stores"),
        ("graceSeconds=60", "pod_spec_config.terminationGracePeriodSeconds is 25. Write the same in both"),
        ("dagster.runLauncher.type=K8sRunLauncher", "Leave it at CustomRunLauncher"),
        ("settings.extra.grid.crs=EPSG:4326", "settings.extra.grid is not for there"),
        ("image.tag=0.2.0", "dagster.dagsterWebserver.image is registry.example.org/groundplan:0.1.0, and image is"),
        ("database.host=other", "database.host is 'other', and dagster.postgresql.postgresqlHost is 'postgres"),
        ("database.secret=other", "dagster.global.postgresqlSecretName is 'groundplan-database'"),
        ("externalSecrets.enabled=true", "externalSecrets.storeRef.name is not set"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_remedy(option: str, words: str) -> None:
    assert words in refused("--set", option)


def test_nothing_is_rendered_before_the_required_values_are_given() -> None:
    done = template()
    assert done.returncode != 0
    assert "store.url is not set" in done.stderr


def test_an_identity_of_another_cloud_does_not_open_the_store() -> None:
    told = refused("--set", "store.url=gs://bucket/nl", values=CHART / "examples" / "aws.yaml")
    assert "store.url is gs://bucket/nl, but pods on cloud.provider 'aws' get no identity that opens gs://" in told


def test_azure_s_label_is_not_forgotten(tmp_path: Path) -> None:
    path = "dagster.runLauncher.config.customRunLauncher.config.run_k8s_config.pod_template_spec_metadata.labels"
    text = yaml.safe_load((CHART / "examples" / "azure.yaml").read_text())
    del text["dagster"]["runLauncher"]
    told = refused(values=with_values(tmp_path, yaml.safe_dump(text)))
    assert "run pods lack the label that its webhook looks for" in told
    assert path in told


# ------------------------------------------------------------ Dagster's own chart


@each_example
def test_what_dagster_s_chart_is_given_agrees_with_ours(values: Path) -> None:
    given, objects = dagster_values(values), rendered(values)
    accounts = {item["metadata"]["name"] for item in objects if item["kind"] == "ServiceAccount"}
    assert given["serviceAccount"] == {"create": False, "name": "groundplan-dagster"}
    assert accounts == {"groundplan-dagster", "groundplan-run"}
    assert given["rbacEnabled"] is False
    data = yaml.safe_load(values.read_text())
    for key in ("dagsterWebserver", "dagsterDaemon"):
        assert given[key]["image"]["repository"] == data["image"]["repository"]
        assert given[key]["envConfigMaps"] == [{"name": "groundplan-env"}]
    one(objects, "ConfigMap", "groundplan-env")
    service = one(objects, "Service", "groundplan-code")
    assert given["dagsterWebserver"]["workspace"]["servers"] == [
        {"host": "groundplan-code", "port": service["spec"]["ports"][0]["port"], "name": "groundplan"}
    ]
    assert given["dagster-user-deployments"] == {"enabled": True, "enableSubchart": False}
    probe = given["dagsterWebserver"]["readinessProbe"]["httpGet"]["port"]
    assert probe == given["dagsterWebserver"]["service"]["port"] > 1024, "no capability to listen below"
    assert given["postgresql"]["enabled"] is False
    assert given["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"


@each_example
def test_web_server_and_daemon_are_not_on_spot_nodes(values: Path) -> None:
    given = dagster_values(values)
    ondemand = profiles(values).nodes["ondemand"].selector
    for key in ("dagsterWebserver", "dagsterDaemon"):
        assert given[key].get("nodeSelector", {}) == ondemand
    code = one(rendered(values), "Deployment", "groundplan-code")["spec"]["template"]["spec"]
    assert code.get("nodeSelector", {}) == ondemand


def test_run_monitoring_and_retries_are_those_of_the_documentation() -> None:
    daemon = dagster_values(SMALL)["dagsterDaemon"]
    assert daemon["runMonitoring"] == {
        "enabled": True,
        "pollIntervalSeconds": 15,
        "startTimeoutSeconds": 900,
        "cancelTimeoutSeconds": 120,
        "maxRuntimeSeconds": 43200,
        "maxResumeRunAttempts": 0,
    }
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": 3, "retryOnAssetOrOpFailure": False}
    coordinator = daemon["runCoordinator"]
    assert coordinator["type"] == "CustomRunCoordinator"
    chosen = coordinator["config"]["customRunCoordinator"]
    assert (chosen["module"], chosen["class"]) == ("orchestration.launch.coordinator", "ProfiledRunCoordinator")
    assert chosen["config"]["profiles"] == "/etc/groundplan/profiles.yaml"
    told = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    for key, value in {**daemon["runMonitoring"], **daemon["runRetries"]}.items():
        assert f"`{key}: {str(value).lower()}`" in told, f"docs/kubernetes.md does not explain {key}: {value}"


@each_example
def test_what_a_pod_printed_outlives_it(values: Path) -> None:
    logs = dagster_values(values)["computeLogManager"]
    kind = logs["type"]
    [(key, settings)] = logs["config"].items()
    assert key == kind[0].lower() + kind[1:]
    url = yaml.safe_load(values.read_text())["store"]["url"]
    if key == "customComputeLogManager":
        assert settings["config"] == {"url": f"{url}/logs", "upload_interval": 30}
    else:
        assert settings["uploadInterval"] == 30
        assert settings["bucket"] == url.split("://")[1].split("/")[0]
