"""Run launcher for a cluster whose API may be away: silence is not death.

Here: a K8sRunLauncher that waits for the API, and leaves no Job behind. Not here: which pod a run gets (profiles.py,
coordinator.py), which runs never began (left_jobs.py).

Dagster takes a health check that it could not ask for a dead worker, and starts the run again while the first pod works
on; and it fails every run that it cannot launch, which spends their retries within the first minute of an outage.
https://docs.dagster.io/deployment/execution/run-launchers
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster import DagsterRun
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from dagster_k8s.job import get_job_name_from_run_id

from assets.stretches import STRETCH_RUN
from orchestration.launch.left_jobs import never_began

PAUSE = 5.0
CONFLICT = 409
SWEEP = 15.0  # seconds between two looks for Jobs that were left
OVERLAP, BEFORE = 60.0, 3600.0  # how far back a look goes, and the first one: a daemon may have been away
logger = logging.getLogger("dagster.daemon.launcher")


class PatientRunLauncher(K8sRunLauncher):
    """A K8sRunLauncher for a cluster whose API may be away for minutes: an upgrade, an overload, a lost network."""

    def __init__(
        self, api_patience_seconds: int = 600, inst_data: ConfigurableClassData | None = None, **options: Any
    ) -> None:
        self._patience = api_patience_seconds
        self._sweeper: threading.Thread | None = None
        super().__init__(inst_data=inst_data, **options)

    @classmethod
    def config_type(cls) -> Any:
        patience = dg.Field(int, default_value=600, description="seconds to wait for the API before a launch fails")
        return {**super().config_type(), "api_patience_seconds": patience}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> PatientRunLauncher:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """As K8sRunLauncher; while the API is away the queue waits, since nothing else could be launched either."""
        self._keep_sweeping()
        deadline, again = time.monotonic() + self._patience, False
        while True:
            try:
                return super().launch_run(context)
            except DagsterK8sUnrecoverableAPIError as error:
                if again and error.k8s_api_exception.status == CONFLICT:
                    return None  # the API went away after it had taken the job
                raise
            except Exception as error:
                if not _silence(error) or time.monotonic() > deadline:
                    raise
                again = True
                time.sleep(PAUSE)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """As K8sRunLauncher; nobody is pronounced dead by an API that does not answer.

        A region's run in the pod of its stretch has no Job: it lives as long as the stretch's run does.
        """
        if stretch := run.tags.get(STRETCH_RUN):
            parent = self._instance.get_run_by_id(stretch)
            alive = parent is not None and not parent.is_finished
            status = WorkerStatus.RUNNING if alive else WorkerStatus.FAILED
            return CheckRunHealthResult(status, "" if alive else f"the run of its stretch, {stretch}, has ended")
        found = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN and not self._answers():
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the cluster's API does not answer; asked again later")
        return found

    def sweep(self, since: float) -> int:
        """Delete the Jobs of runs that ended after `since` (seconds since 1970) without having begun; how many."""
        deleted = 0
        for run in never_began(self._instance, since):
            namespace = self.get_container_context_for_run(run).namespace
            if self._api_client.delete_job(get_job_name_from_run_id(run.run_id), namespace):
                self._instance.report_engine_event("Deleted the Job of this run, which ended before it began", run)
                deleted += 1
        return deleted

    def _keep_sweeping(self) -> None:
        """Only where runs are launched, which is the daemon: nobody else is asked to, or may, delete Jobs."""
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep_for_ever, name="left-jobs", daemon=True)
            self._sweeper.start()

    def _sweep_for_ever(self) -> None:
        since = time.time() - BEFORE
        while self._instance_weakref is not None and self._instance_weakref() is not None:
            started = time.time()
            try:
                self.sweep(since)
                since = started - OVERLAP
            except Exception:  # the API or the database is away: the same is looked for again
                logger.warning("jobs of runs that never began could not be deleted", exc_info=True)
            time.sleep(SWEEP)

    def _answers(self) -> bool:
        """Whether the API says its version, which everybody may ask."""
        import kubernetes

        try:
            kubernetes.client.VersionApi().get_code(_request_timeout=PAUSE)
        except Exception:
            return False
        return True


def _silence(error: BaseException) -> bool:
    """Whether a launch failed because nobody answered, or answered that they are overloaded."""
    from urllib3.exceptions import HTTPError

    return isinstance(error, (HTTPError, OSError, DagsterK8sAPIRetryLimitExceeded))
