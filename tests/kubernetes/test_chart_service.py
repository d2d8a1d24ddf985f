"""Serve, work and relay in the chart: off by default; on, hardened, bounded, without a password in any object.

No cluster is needed. What they do on one: test_service.py.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from chart import CHART, rendered
from prometheus_client import generate_latest
from test_chart import SMALL, one, refused, selects

from groundplan import config
from serving.metrics import Meters

GPU = CHART / "examples" / "gpu.yaml"
URL = "postgresql://results.example.org/groundplan"
ON = ["--set", "service.enabled=true", "--set", f"service.database.url={URL}"]
PROMETHEUS = ["--set", "service.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring"]
MONITORING = CHART.parents[1] / "monitoring"
ROLES = ("serve", "work", "relay")


def deployment(role: str, *options: str) -> dict[str, Any]:
    return one(rendered(SMALL, options=[*ON, *options]), "Deployment", f"groundplan-{role}")


def test_they_are_off_until_somebody_wants_them() -> None:
    names = {item["metadata"]["name"] for item in rendered(SMALL)}
    assert not names & {"groundplan-serve", "groundplan-work", "groundplan-relay", "groundplan-migrate"}


def test_the_database_reaches_the_settings_and_its_password_only_the_pods() -> None:
    objects = rendered(SMALL, options=ON)
    text = one(objects, "ConfigMap", "groundplan")["data"]["groundplan.toml"]
    assert config.parse(tomllib.loads(text), "the chart").database.url == URL
    for role in ROLES:
        [container] = deployment(role)["spec"]["template"]["spec"]["containers"]
        assert {"secretRef": {"name": "groundplan-results"}} in container["envFrom"]
        assert {"secretRef": {"name": "groundplan-store"}} in container["envFrom"]
        assert "env" not in container


@pytest.mark.parametrize("role", ROLES)
def test_their_pods_are_hardened_bounded_and_have_no_token(role: str) -> None:
    spec = deployment(role)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["serviceAccountName"] == f"groundplan-{role}"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["limits"])
    assert container["args"][:2] == ["groundplan", role]


def test_an_exchange_of_serve_refuses_nobody() -> None:
    spec = deployment("serve")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    [container] = spec["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez", "which asks no database: a pod lives without one"
    assert "preStop" in container["lifecycle"]


def test_serve_grows_by_the_processors_or_by_the_wait() -> None:
    [metric] = one(rendered(SMALL, options=ON), "HorizontalPodAutoscaler", "groundplan-serve")["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 70
    assert "replicas" not in deployment("serve")["spec"], "it would be set back at every upgrade"
    by_wait = rendered(SMALL, options=[*ON, "--set", "service.serve.waitMilliseconds=500"])
    [metric] = one(by_wait, "HorizontalPodAutoscaler", "groundplan-serve")["spec"]["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "500m"
    fixed = rendered(SMALL, options=[*ON, "--set", "service.serve.most=2"])
    assert not [item for item in fixed if item["kind"] == "HorizontalPodAutoscaler"]
    assert one(fixed, "Deployment", "groundplan-serve")["spec"]["replicas"] == 2


def test_work_grows_by_the_age_of_the_oldest_message_where_keda_is() -> None:
    keda = ["--set", "service.keda.enabled=true", "--set", "service.keda.prometheus=http://prometheus.monitoring:9090"]
    objects = rendered(SMALL, options=[*ON, *keda])
    [trigger] = one(objects, "ScaledObject", "groundplan-work")["spec"]["triggers"]
    meters = Meters()
    meters.queue("work", 1, 3.0, 0)
    asked = trigger["metadata"]["query"].removeprefix("max(").removesuffix(")")
    assert f"\n{asked}{{".encode() in generate_latest(meters.registry), "a figure that the workers give"
    assert "replicas" not in one(objects, "Deployment", "groundplan-work")["spec"]
    assert not [item for item in rendered(SMALL, options=ON) if item["kind"] == "ScaledObject"]


def test_prometheus_is_told_whom_to_read_and_what_to_alarm_of() -> None:
    """The rules and the dashboard are those of monitoring/, which other tests hold to what is told."""
    watched = [*ON, "--set", "service.monitoring.enabled=true", "--set", "service.monitoring.labels.release=mine"]
    objects = rendered(SMALL, options=[*watched, *PROMETHEUS])
    rule = one(objects, "PrometheusRule", "groundplan")
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yml").read_text())
    board = one(objects, "ConfigMap", "groundplan-dashboard")
    assert json.loads(board["data"]["groundplan.json"]) == json.loads((MONITORING / "dashboard.json").read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    serve, pods = one(objects, "ServiceMonitor", "groundplan-serve"), one(objects, "PodMonitor", "groundplan-work")
    assert all(item["metadata"]["labels"]["release"] == "mine" for item in (rule, serve, pods))
    service = one(objects, "Service", "groundplan-serve")
    assert serve["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert serve["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    (chosen,) = pods["spec"]["selector"]["matchExpressions"]
    for role in ("work", "relay"):
        template = one(objects, "Deployment", f"groundplan-{role}")["spec"]["template"]
        assert template["metadata"]["labels"][chosen["key"]] in chosen["values"]
        [container] = template["spec"]["containers"]
        assert pods["spec"]["podMetricsEndpoints"][0]["port"] == container["ports"][0]["name"]
    kinds = {item["kind"] for item in rendered(SMALL, options=ON)}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}, "a cluster without the operator has none"


def test_the_tables_are_made_before_anything_of_a_release_is_there() -> None:
    """What this hook names must be there before an install, else `helm --wait` waits for ever."""
    objects = rendered(SMALL, options=ON)
    job = one(objects, "Job", "groundplan-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"] == ["groundplan", "database", "migrate"]
    assert pod["serviceAccountName"] == "default"
    maps = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    assert maps == ["groundplan-migrate"]
    assert container["envFrom"] == [{"secretRef": {"name": "groundplan-results"}}], "which its user has made"
    settings = one(objects, "ConfigMap", "groundplan-migrate")
    assert settings["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(settings["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0, "before the Job"
    assert settings["data"]["groundplan.toml"] == one(objects, "ConfigMap", "groundplan")["data"]["groundplan.toml"]
    names = {entry["name"] for entry in container["env"]}
    assert names == set(one(objects, "ConfigMap", "groundplan-env")["data"])


def test_policies_let_them_reach_their_database_and_store_and_nobody_them() -> None:
    objects = rendered(SMALL, options=ON)
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    for role in (*ROLES, "migrate"):
        labels = {"groundplan/role": role}
        mine = {item["metadata"]["name"] for item in policies if selects(item["spec"]["podSelector"], labels)}
        assert mine == {"groundplan-deny", "groundplan-service"}
    policy = one(objects, "NetworkPolicy", "groundplan-service")["spec"]
    assert policy["ingress"] == []
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [9000], [5432]]
    opened = rendered(SMALL, options=[*ON, "--set", "service.from[0].namespaceSelector.matchLabels.name=ingress"])
    rule = one(opened, "NetworkPolicy", "groundplan-serve")["spec"]
    assert selects(rule["podSelector"], {"groundplan/role": "serve"})
    assert not selects(rule["podSelector"], {"groundplan/role": "work"})


def identities(*roles: str) -> list[str]:
    return [f"--set=cloud.identity.{role}={role}@groundplan.iam.gserviceaccount.com" for role in roles]


def test_each_has_an_account_of_its_own_that_may_do_nothing_in_the_cluster() -> None:
    objects = rendered(GPU, options=[*ON, *identities(*ROLES)])
    bound = [subject["name"] for item in objects if item["kind"] == "RoleBinding" for subject in item["subjects"]]
    for role in ROLES:
        account = one(objects, "ServiceAccount", f"groundplan-{role}")
        assert list(account["metadata"]["annotations"].values()) == [f"{role}@groundplan.iam.gserviceaccount.com"]
        assert account["automountServiceAccountToken"] is False
        assert account["metadata"]["name"] not in bound
    without = one(rendered(GPU, options=[*ON, *identities("serve", "work")]), "ServiceAccount", "groundplan-relay")
    assert "annotations" not in without["metadata"], "who tells by webhooks is nobody to the cloud"


def test_the_results_password_comes_from_the_vault_before_the_tables_are_made() -> None:
    values = CHART / "examples" / "on-premise.yaml"
    assert "externalSecrets.results.key is not set" in refused(*ON, values=values)
    place = [
        "--set",
        "externalSecrets.results.key=groundplan/results",
        "--set",
        "externalSecrets.results.property=word",
    ]
    objects = rendered(values, options=[*ON, *place, "--set", "service.database.user=me"])
    made = one(objects, "ExternalSecret", "groundplan-results")
    [password] = made["spec"]["data"]
    assert password == {"secretKey": "PGPASSWORD", "remoteRef": {"key": "groundplan/results", "property": "word"}}
    target = made["spec"]["target"]
    assert target["template"] == {"mergePolicy": "Merge", "data": {"PGUSER": "me"}}
    assert target["creationPolicy"] == "Orphan", "else the Secret goes while an upgrade makes the reference anew"
    job = one(objects, "Job", "groundplan-migrate")
    assert job["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": target["name"]}}]
    hooks = [item["metadata"]["annotations"] for item in (made, job)]
    assert hooks[0]["helm.sh/hook"] == hooks[1]["helm.sh/hook"]
    assert int(hooks[0]["helm.sh/hook-weight"]) < int(hooks[1].get("helm.sh/hook-weight", 0))
    assert not [item for item in rendered(values) if item["metadata"]["name"] == "groundplan-results"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("service.database.url=", "service.database.url is not set"),
        ("service.database.url=postgresql://me:word@db/results", "service.database.url holds a name or a password"),
        ("service.database.url=mysql://db/results", "/service/database/url"),
        ("service.work.nodes=gold", "service.work.nodes names the node group 'gold'"),
        ("service.serve.most=1", "service.serve.most is 1, and service.serve.replicas is 2"),
        ("service.keda.enabled=true", "service.keda.prometheus is not set"),
        ("service.monitoring.enabled=true", "service.metricsFrom is empty"),
    ],
)
def test_what_does_not_make_sense_is_refused(option: str, words: str) -> None:
    assert words in refused(*ON, "--set", option)


def test_what_shows_maps_opens_no_database() -> None:
    shown = ["--set", "previews.enabled=true", "--set", "previews.url=http://localhost:8081"]
    maps = one(rendered(SMALL, options=[*ON, *shown]), "Deployment", "groundplan-previews")
    [container] = maps["spec"]["template"]["spec"]["containers"]
    assert "--maps-only" in container["args"]
    assert {"secretRef": {"name": "groundplan-results"}} not in container["envFrom"]


def test_an_identity_is_asked_for() -> None:
    assert "cloud.identity.serve is not set" in refused(*ON, values=GPU)
    assert "cloud.identity.work is not set" in refused(*ON, *identities("serve"), values=GPU)
    runs = "--set=cloud.identity.work=groundplan-run@groundplan.iam.gserviceaccount.com"
    assert "cloud.identity.work is cloud.identity.run" in refused(*ON, *identities("serve"), runs, values=GPU)
    sqs = "--set=settings.extra.messages.broker=sqs"
    assert "cloud.identity.relay is not set" in refused(*ON, *identities("serve", "work"), sqs, values=GPU)
