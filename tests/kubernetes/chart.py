"""The chart, rendered: our objects, what Dagster's own chart is given, and the job that a run gets from it.

Here: calling helm, and dagster-k8s's own code for the job. Not here: what must be true of them (test_chart.py).

Dagster's chart comes from its public repository and is not in this checkout. A stub of the same name and version stands
in for it (dagster_chart/, written from Dagster's documentation). It comes in as the real one does on a machine without
internet: as an archive, by helm/bring-dagster, with a schema that points at addresses which nobody answers.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from orchestration.launch.profiles import ProfileTable, read_table

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "helm" / "groundplan"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
NAMESPACE = "groundplan"
IMAGE = "groundplan:0.1.0"  # of a run without a profile: the code location's own
STUB = "values-of-the-stub"
OF_DAGSTER = "dagster-"  # begins the label helm.sh/chart of the stub's objects


Done = subprocess.CompletedProcess[str]


@functools.cache
def helm() -> str:
    """The pinned helm; built once where it is not there yet."""
    done = subprocess.run(["sh", HERE / "bring", "helm"], check=True, capture_output=True, text=True)
    return f"{done.stdout.strip()}/helm"


def copied(folder: Path) -> Path:
    """A copy of the chart, without Dagster's."""
    return Path(shutil.copytree(CHART, folder / "groundplan", ignore=shutil.ignore_patterns("charts", "*.lock")))


def packed_stub(folder: Path, version: str | None = None) -> Path:
    """The stub as Dagster's repository gives its chart: dagster-VERSION.tgz."""
    version = version or yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"][0]["version"]
    place = Path(shutil.copytree(HERE / "dagster_chart", folder / "stub" / "dagster"))
    about = place / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.0.0", f"version: {version}"))
    with tarfile.open(folder / f"dagster-{version}.tgz", "w:gz") as archive:
        archive.add(place, "dagster")
    return folder / f"dagster-{version}.tgz"


def bring_dagster(*words: Path | str, check: bool = True) -> Done:
    """The command of docs/kubernetes.md, with the pinned helm."""
    environ = {**os.environ, "PATH": f"{Path(helm()).parent}:{os.environ['PATH']}"}
    command = [CHART.parent / "bring-dagster", *words]
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environ)


@functools.cache
def with_stub() -> Path:
    """A copy of the chart with the stub inside."""
    folder = Path(tempfile.mkdtemp(prefix="groundplan-chart-"))
    copy = copied(folder)
    bring_dagster(packed_stub(folder), copy)
    return copy


def template(*values: Path, options: Sequence[str] = (), namespace: str = NAMESPACE) -> Done:
    """`helm template` with these values files; options such as `--set graceSeconds=40`. The same is run once."""
    return _template(values, tuple(options), namespace, tuple(path.read_bytes() for path in values))


@functools.cache
def _template(values: tuple[Path, ...], options: tuple[str, ...], namespace: str, _contents: tuple[bytes, ...]) -> Done:
    files = [word for path in values for word in ("--values", str(path))]
    command = [helm(), "template", "groundplan", str(with_stub()), "--namespace", namespace, *files, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _objects(values: Sequence[Path], options: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    done = template(*values, options=options, namespace=namespace)
    if done.returncode:
        raise AssertionError(done.stderr)
    return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]


def rendered(*values: Path, options: Sequence[str] = (), namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """Our objects, without those of Dagster's chart. Raises AssertionError with helm's words when it refuses."""
    return [item for item in _objects(values, options, namespace) if not _of_dagster(item)]


def dagster_objects(*values: Path, options: Sequence[str] = (), namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """What the stub makes of the values that Dagster's chart is given: web server, daemon, dagster.yaml."""
    found = [item for item in _objects(values, options, namespace) if _of_dagster(item)]
    return [item for item in found if item["metadata"]["name"] != STUB]


def dagster_yaml(*values: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """The instance's settings, read from the stub's ConfigMap."""
    names = (
        item for item in dagster_objects(*values, options=options) if item["metadata"]["name"].endswith("-instance")
    )
    settings: dict[str, Any] = yaml.safe_load(next(names)["data"]["dagster.yaml"])
    return settings


def _of_dagster(item: dict[str, Any]) -> bool:
    return str(item["metadata"]["labels"]["helm.sh/chart"]).startswith(OF_DAGSTER)


def dagster_values(*values: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """The values that Dagster's own chart is given, defaults of ours included and defaults of its own not."""
    found = [item for item in _objects(values, options, NAMESPACE) if item["metadata"]["name"] == STUB]
    given: dict[str, Any] = yaml.safe_load(found[0]["data"]["values"])
    return given


def run_job(*values: Path, tags: Mapping[str, str] | None = None, namespace: str = NAMESPACE) -> dict[str, Any]:
    """The Job of a run with these tags, made by our launcher from the chart's settings, as the API server gets it."""
    from dagster import DagsterRun
    from dagster._config import process_config
    from dagster_k8s.job import construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    from orchestration.launch.launcher import PatientRunLauncher

    chosen = dagster_values(*values)["runLauncher"]["config"]["customRunLauncher"]
    assert f"{chosen['module']}.{chosen['class']}" == f"{PatientRunLauncher.__module__}.{PatientRunLauncher.__name__}"
    with mock.patch.dict(os.environ, environment(*values, namespace=namespace)):
        checked = process_config(PatientRunLauncher.config_type(), dict(chosen["config"]))
    assert checked.success, checked.errors
    assert checked.value is not None
    with mock.patch("dagster_k8s.launcher.load_kubernetes_config"):
        launcher = PatientRunLauncher(
            **checked.value, k8s_client_batch_api=mock.Mock(), k8s_client_core_api=mock.Mock()
        )
    run = DagsterRun(job_name="__ASSET_JOB", tags=dict(tags or {}))
    context = launcher.get_container_context_for_run(run)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(IMAGE, launcher),
        ["dagster", "api", "execute_run"],
        f"dagster-run-{run.run_id}",
        user_defined_k8s_config=context.run_k8s_config,
        component="run_worker",
    )
    job.metadata.namespace = context.namespace
    plain: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return plain


def environment(*values: Path, namespace: str = NAMESPACE) -> dict[str, str]:
    """What web server, daemon and runs find in their environment."""
    return config_map("groundplan-env", *values, namespace=namespace)


def profiles(*values: Path) -> ProfileTable:
    """The launch profiles, as the run coordinator reads them."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config_map("groundplan", *values)["profiles.yaml"])
        file.flush()
        return read_table(Path(file.name))


def config_map(name: str, *values: Path, namespace: str = NAMESPACE) -> dict[str, str]:
    """The data of one of our ConfigMaps."""
    [found] = [
        item
        for item in rendered(*values, namespace=namespace)
        if (item["kind"], item["metadata"]["name"]) == ("ConfigMap", name)
    ]
    data: dict[str, str] = found["data"]
    return data
