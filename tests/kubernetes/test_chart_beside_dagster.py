"""The chart beside Dagster's own: how that comes in, what the two say together, what a change of one does to the other.

No cluster is needed. In the place of Dagster's chart stands a stub that is written from Dagster's documentation
(dagster_chart/): what the real one makes of a value may differ.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from chart import (
    CHART,
    bring_dagster,
    config_map,
    copied,
    dagster_objects,
    dagster_values,
    dagster_yaml,
    environment,
    helm,
    packed_stub,
    profiles,
    rendered,
    run_job,
    with_stub,
)
from servers import free_port
from test_chart import SMALL, each_example, one, refused, with_values

from groundplan import config
from orchestration.launch import probes

GPU = CHART / "examples" / "gpu.yaml"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"][0]["version"]
SERVICE = ["--set", "service.enabled=true", "--set", "service.database.url=postgresql://results.example.org/groundplan"]
PREVIEWS = ["--set", "previews.enabled=true", "--set", "previews.url=https://maps.example.org"]


def template(chart: Path, *options: str, release: str = "groundplan") -> subprocess.CompletedProcess[str]:
    command = [helm(), "template", release, str(chart), "--values", str(SMALL), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# ------------------------------------------------------------ how it comes in


def test_without_internet_its_schema_stops_everything_until_the_pointers_are_taken_out(tmp_path: Path) -> None:
    """And then both schemas are still asked: ours as it was, its own in all that it says itself."""
    chart, archive = copied(tmp_path), packed_stub(tmp_path)
    (chart / "charts").mkdir()
    shutil.copy(archive, chart / "charts")  # as `helm dependency update` leaves it
    stopped = template(chart)
    assert stopped.returncode != 0
    assert "definitions.invalid" in stopped.stderr
    said = bring_dagster(archive, chart).stdout
    assert said == f"Dagster's chart {VERSION} is in {chart}/charts/dagster\n"
    assert sorted(path.name for path in (chart / "charts").iterdir()) == ["dagster"], "the archive would be taken too"
    done = template(chart)
    assert done.returncode == 0, done.stderr
    for option, words in (
        ("profiles.cpu.bogus=1", "bogus"),
        ("dagster.dagsterWebserver.replicaCount=two", "replicaCount"),
    ):
        done = template(chart, "--set", option)
        assert done.returncode != 0, option
        assert words in done.stderr


def test_both_go_in_one_archive_to_where_there_is_no_network(tmp_path: Path) -> None:
    command = [helm(), "package", str(with_stub()), "--destination", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    [archive] = tmp_path.glob("groundplan-*.tgz")
    done = template(archive)
    assert done.returncode == 0, done.stderr
    assert "dagster-daemon run" in done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """A repository of charts on this machine; its address."""
    folder = tmp_path / "repository"
    folder.mkdir()
    archive = packed_stub(folder)
    entry = {"apiVersion": "v2", "name": "dagster", "version": VERSION, "urls": [archive.name]}
    (folder / "index.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "entries": {"dagster": [entry]}}))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_with_a_network_it_is_fetched_in_the_pinned_version(repository: str, tmp_path: Path) -> None:
    chart = copied(tmp_path)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"repository: .*", f"repository: {repository}", about.read_text()))
    bring_dagster("", chart)
    done = template(chart)
    assert done.returncode == 0, done.stderr


def test_another_version_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    chart = copied(tmp_path)
    bring_dagster(packed_stub(tmp_path / "pinned"), chart)
    done = bring_dagster(packed_stub(tmp_path / "other", "1.0.0"), chart, check=False)
    assert done.returncode == 1
    assert f"holds Dagster's chart 1.0.0, and {chart}/Chart.yaml pins {VERSION}" in done.stderr
    assert template(chart).returncode == 0


# ------------------------------------------------------------ dagster.yaml, image, helm test


def instance_ref(values: Path, folder: Path) -> Any:
    """dagster.yaml as web server, daemon and runs load it: everything named there can be made."""
    from dagster._core.instance.ref import InstanceRef

    (folder / "dagster.yaml").write_text(yaml.safe_dump(dagster_yaml(values)))
    return InstanceRef.from_dir(str(folder))


@each_example
def test_all_that_dagster_yaml_names_is_in_the_image_and_takes_its_settings(values: Path, tmp_path: Path) -> None:
    environ = {**os.environ, **environment(values), "DAGSTER_PG_PASSWORD": "x"}
    ours = {"dagster", "orchestration"}
    pins = (CHART.parents[1] / "requirements-runtime.txt").read_text()
    installed = {name.replace("-", "_") for name in re.findall(r"^([a-z0-9-]+)==", pins, re.MULTILINE)} | ours
    settings = dagster_yaml(values)
    modules = {part["module"].split(".")[0] for part in settings.values() if "module" in part}
    assert modules <= installed, "it is loaded by the first run, and every run dies of it"
    with mock.patch.dict(os.environ, environ), mock.patch("dagster_k8s.launcher.load_kubernetes_config"):
        ref = instance_ref(values, tmp_path)
        assert type(ref.run_launcher).__name__ == "PatientRunLauncher"
        assert type(ref.run_coordinator).__name__ == "ProfiledRunCoordinator"
        logs = ref.compute_log_manager
        assert logs.upload_interval == 30
        if type(logs).__name__ == "StoreLogManager":
            assert logs._store.url.startswith(yaml.safe_load(values.read_text())["store"]["url"])


@pytest.mark.parametrize(
    ("release", "options"),
    [
        ("groundplan", []),
        ("north", []),
        ("dagster-north", []),
        ("north", ["--set", "dagster.nameOverride=runs"]),
        ("north", ["--set", "dagster.fullnameOverride=runs"]),
    ],
)
def test_helm_test_reads_the_settings_that_web_server_and_daemon_have(release: str, options: list[str]) -> None:
    documents = [item for item in yaml.safe_load_all(template(with_stub(), *options, release=release).stdout) if item]
    names = {item["metadata"]["name"] for item in documents if "dagster.yaml" in item.get("data", {})}
    spec = one(documents, "Pod", "groundplan-test-store")["spec"]
    volumes = {item["name"]: item["configMap"]["name"] for item in spec["volumes"] if "configMap" in item}
    assert {volumes["dagster"]} == names
    container = next(item for item in spec["containers"] if item["name"] == "instance")
    assert container["args"] == ["python", "-P", "-m", probes.__name__, "instance"]
    mounts = {item["name"]: item["mountPath"] for item in container["volumeMounts"]}
    assert {"name": "DAGSTER_HOME", "value": mounts["dagster"]} in container["env"]
    assert next(item for item in container["env"] if item["name"] == "DAGSTER_PG_PASSWORD")


def test_without_dagster_s_chart_helm_test_asks_the_store_alone() -> None:
    objects = rendered(SMALL, options=["--set", "dagster.enabled=false"])
    [container] = one(objects, "Pod", "groundplan-test-store")["spec"]["containers"]
    assert container["args"] == ["groundplan", "status"]


# ------------------------------------------------------------ what restarts, and what does not


def deployments(*options: str, values: Path = SMALL) -> dict[str, dict[str, Any]]:
    """Name to the pod's template, of our Deployments and of the stub's."""
    found = [*rendered(values, options=options), *dagster_objects(values, options=options)]
    return {item["metadata"]["name"]: item["spec"]["template"] for item in found if item["kind"] == "Deployment"}


@each_example
def test_what_hangs_is_started_anew(values: Path) -> None:
    for name, made in deployments(values=values).items():
        [container] = made["spec"]["containers"]
        liveness, readiness = container["livenessProbe"], container.get("readinessProbe")
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 240, f"{name}: slow is not dead"
        assert readiness or name.endswith("-daemon"), name


def test_the_queue_s_patience_is_not_taken_for_death() -> None:
    given = dagster_values(SMALL)
    *_, tolerance = given["dagsterDaemon"]["livenessProbe"]["exec"]["command"]
    patience = given["runLauncher"]["config"]["customRunLauncher"]["config"]["api_patience_seconds"]
    assert int(tolerance) > patience


@pytest.mark.parametrize("part", ["dagsterWebserver", "dagsterDaemon"])
def test_the_probes_are_words_that_the_program_knows(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = mock.Mock(return_value="")
    python, safe, flag, module, *words = dagster_values(SMALL)[part]["livenessProbe"]["exec"]["command"]
    assert (python, safe, flag, module) == ("python", "-P", "-m", probes.__name__), "nothing out of /tmp"
    monkeypatch.setattr(probes, "web", asked)
    monkeypatch.setattr(probes, "daemon", asked)
    monkeypatch.setenv("GROUNDPLAN_HOME", "/nowhere")
    with pytest.raises(SystemExit) as ended:
        probes.main(*words)
    assert ended.value.code is None
    asked.assert_called_once()


@pytest.mark.slow
def test_dagster_s_code_server_answers_the_kubelet_s_own_question(tmp_path: Path) -> None:
    """A gRPC probe names a service; under another name the server would say that it knows none."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    probe = deployments()["groundplan-code"]["spec"]["containers"][0]["livenessProbe"]["grpc"]
    (tmp_path / "nothing.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    port = free_port()
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-f", "nothing.py", "-h", "127.0.0.1", "-p", str(port)]
    environ = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    server = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
            stub = health_pb2_grpc.HealthStub(channel)
            said = stub.Check(health_pb2.HealthCheckRequest(service=probe["service"]), timeout=20)
        assert said.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        server.kill()  # how it ends is not asked here
        server.wait()


def restarted(*options: str) -> set[str]:
    """Of our Deployments those whose pods `helm upgrade` with these options makes anew."""
    before, after = deployments(*SERVICE, *PREVIEWS), deployments(*SERVICE, *PREVIEWS, *options)
    return {name for name, made in before.items() if made != after[name]}


def test_a_changed_environment_restarts_what_reads_it() -> None:
    """Ours by an annotation. The values of Dagster's chart cannot be computed: its two are asked by their probes."""
    ours = {f"groundplan-{name}" for name in ("code", "previews", "serve", "work", "relay")}
    assert restarted("--set", "store.region=eu-west-1") == ours
    assert restarted("--set", "store.endpoint=http://other.storage.svc:9000") == ours
    assert restarted("--set", "settings.extra.quality.min_iou=0.8") == ours
    assert restarted("--set", "profiles.io.memory=4Gi") == set(), "profiles are read for each run"


@each_example
def test_web_server_and_daemon_compare_their_environment_with_the_chart_s(values: Path, tmp_path: Path) -> None:
    told = json.loads(config_map("groundplan", values)["environment.json"])
    assert told == environment(values)
    for item in dagster_objects(values):
        if item["kind"] == "Deployment":
            spec = item["spec"]["template"]["spec"]
            [container] = spec["containers"]
            places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            mounted = {
                volume["configMap"]["name"]: places[volume["name"]]
                for volume in spec["volumes"]
                if "configMap" in volume
            }
            assert mounted["groundplan"] == told["GROUNDPLAN_HOME"], "where the probe looks"
            assert {"configMapRef": {"name": "groundplan-env"}} in container["envFrom"]
            assert container["livenessProbe"]["exec"]["command"][3] == probes.__name__


# ------------------------------------------------------------ nodes, disks, classes, variables


@each_example
def test_from_a_lost_node_every_pod_goes_after_half_a_minute(values: Path) -> None:
    pods = {name: made["spec"] for name, made in deployments(values=values).items()}
    pods["a run"] = run_job(values)["spec"]["template"]["spec"]
    for name, spec in pods.items():
        lost = {
            item["key"]: item.get("tolerationSeconds")
            for item in spec["tolerations"]
            if "node.kubernetes" in item["key"]
        }
        assert lost == {"node.kubernetes.io/unreachable": 30, "node.kubernetes.io/not-ready": 30}, name


@each_example
def test_what_a_run_may_write_is_what_its_profile_says(values: Path) -> None:
    """An emptyDir's own limit would evict a pod below it; the limit of ephemeral storage counts what lies in /tmp."""
    [tmp] = [item for item in run_job(values)["spec"]["template"]["spec"]["volumes"] if item["name"] == "tmp"]
    assert tmp == {"name": "tmp", "emptyDir": {}}


def test_two_projects_in_two_namespaces_share_no_object() -> None:
    """What belongs to the whole cluster is named after the namespace, and profiles name it so."""

    def of_the_cluster(namespace: str) -> set[tuple[str, str]]:
        found = [*rendered(GPU, namespace=namespace), *dagster_objects(GPU, namespace=namespace)]
        return {(item["kind"], item["metadata"]["name"]) for item in found if "namespace" not in item["metadata"]}

    assert of_the_cluster("north") == {("PriorityClass", "north-train")}
    assert not of_the_cluster("north") & of_the_cluster("south")
    text = config_map("groundplan", GPU, namespace="north")["profiles.yaml"]
    assert yaml.safe_load(text)["profiles"]["train"]["priority_class"] == "north-train"


def test_a_class_that_the_cluster_has_keeps_its_name(tmp_path: Path) -> None:
    path = with_values(tmp_path, yaml.safe_dump({"profiles": {"train": {"priorityClass": "batch"}}}))
    assert profiles(GPU, path).profiles["train"].priority_class == "batch"


def service_links(objects: list[dict[str, Any]]) -> dict[str, str]:
    """What the kubelet puts into every pod that does not forbid it, for each Service of the namespace.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    made = {}
    for item in objects:
        if item["kind"] == "Service":
            name = item["metadata"]["name"].upper().replace("-", "_")
            made[f"{name}_SERVICE_HOST"] = "10.0.0.7"
            for number, port in enumerate(item["spec"]["ports"]):
                at, address = port["port"], f"tcp://10.0.0.7:{port['port']}"
                if not number:
                    made |= {f"{name}_SERVICE_PORT": str(at), f"{name}_PORT": address}
                made[f"{name}_SERVICE_PORT_{port['name'].upper()}"] = str(at)
                one = f"{name}_PORT_{at}_TCP"
                made |= {one: address, f"{one}_PROTO": "tcp", f"{one}_PORT": str(at), f"{one}_ADDR": "10.0.0.7"}
    return made


def test_the_variables_of_services_are_no_settings(tmp_path: Path) -> None:
    """Dagster's chart cannot switch them off, and `groundplan gc` is called in the daemon's container."""
    options = [*SERVICE, *PREVIEWS]
    objects = [*rendered(SMALL, options=options), *dagster_objects(SMALL, options=options)]
    links = service_links(objects)
    assert {
        "GROUNDPLAN_CODE_PORT",
        "GROUNDPLAN_WEBSERVER_SERVICE_PORT_HTTP",
        "GROUNDPLAN_CODE_PORT_3030_TCP_ADDR",
    } <= set(links)
    text = config_map("groundplan", SMALL)["groundplan.toml"]
    (tmp_path / config.FILE).write_text(text)
    loaded = config.load(tmp_path, links)
    assert loaded.model_dump() == config.parse(tomllib.loads(text), "the chart").model_dump()


# ------------------------------------------------------------ facts that stand twice


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["service.port=9090"],
            "service.port is 9090, where the server listens, and dagster.dagsterWebserver.readinessProbe",
        ),
        (
            ["pathPrefix=/dagster"],
            "readinessProbe.httpGet.path is /server_info, where nothing answers. Set that to /dagster/",
        ),
        (
            ["pathPrefix=/dagster", "readinessProbe.httpGet.path=/dagster/server_info"],
            "livenessProbe asks http://127.0.0.1:8080/server_info, and the server answers at http://127.0.0.1:8080/da",
        ),
        (["service.port=80", "readinessProbe.httpGet.port=80", "livenessProbe=null"], "Below 1024"),
        (["workspace.servers[0].port=4000"], "names groundplan-code at port"),
    ],
)
def test_ports_and_paths_are_compared(options: list[str], words: str) -> None:
    given = [word for option in options for word in ("--set", f"dagster.dagsterWebserver.{option}")]
    if options[0].startswith("workspace"):
        given += ["--set", "dagster.dagsterWebserver.workspace.servers[0].host=groundplan-code"]
    assert words in refused(*given)


def test_a_path_that_is_said_everywhere_is_taken() -> None:
    web = "dagster.dagsterWebserver"
    options = [
        *("--set", f"{web}.pathPrefix=/dagster", "--set", f"{web}.readinessProbe.httpGet.path=/dagster/server_info"),
        *("--set", f"{web}.livenessProbe.exec.command[3]=web", "--set", f"{web}.livenessProbe.exec.command[0]=python"),
        *("--set", f"{web}.livenessProbe.exec.command[1]=-m", "--set", f"{web}.livenessProbe.exec.command[2]=x"),
        *("--set", f"{web}.livenessProbe.exec.command[4]=http://127.0.0.1:8080/dagster/server_info"),
    ]
    assert rendered(SMALL, options=options)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("type=GCSComputeLogManager", "whose package is not in the image: every run would die"),
        ("type=AzureBlobComputeLogManager", "whose package is not in the image: every run would die"),
        ("type=LocalComputeLogManager", "which keeps nothing once the pod is gone"),
        (
            "config.customComputeLogManager.config.url=s3://other/logs",
            "and pods have credentials for gs://groundplan-nl/v1",
        ),
    ],
)
def test_logs_go_where_the_pods_may_write(option: str, words: str) -> None:
    assert words in refused("--set", f"dagster.computeLogManager.{option}", values=GPU)
