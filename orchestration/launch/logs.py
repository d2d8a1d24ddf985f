"""What runs print, kept where the blocks are: S3, Azure, Google or a folder, by the same client.

Here: a compute log manager over groundplan/core/store.py. Not here: credentials, which are the environment's.

Dagster's own managers for Azure and Google are not in the image: dagster-gcp asks for pandas below 3, and dagster-azure
brings Azure's machine learning kit with an OpenTelemetry of its own.

    compute_logs:
      module: orchestration.launch.logs
      class: StoreLogManager
      config: {url: az://imagery/nl/logs, upload_interval: 30}
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import dagster as dg
from dagster import StringSource
from dagster._core.storage.cloud_storage_compute_log_manager import (
    PollingComputeLogSubscriptionManager,
    TruncatingCloudStorageComputeLogManager,
)
from dagster._core.storage.compute_log_manager import CapturedLogSubscription, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from groundplan.core.store import Store, open_store
from groundplan.errors import StoreFailed

RETRIES, RETRY_SECONDS = 3, 20.0  # a run does not wait longer for what it printed
logger = logging.getLogger("dagster.compute_log_manager")


class StoreLogManager(TruncatingCloudStorageComputeLogManager[dg.DagsterInstance], ConfigurableClass):
    """Logs as objects `storage/RUN/compute_logs/STEP.out` and `.err` below a URL; `.partial` while they grow."""

    def __init__(
        self,
        url: str,
        upload_interval: int | None = None,
        local_dir: str | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._url, self._interval, self._inst_data = url, upload_interval, inst_data
        self._opened: Store | None = None
        self._local = LocalComputeLogManager(local_dir or tempfile.gettempdir())
        self._watchers = PollingComputeLogSubscriptionManager(self)
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        interval = dg.Field(dg.Noneable(int), default_value=None, description="seconds between looks at what grew")
        return {
            "url": dg.Field(StringSource, description="s3://, az://, gs:// or file://"),
            "upload_interval": interval,
            "local_dir": dg.Field(StringSource, is_required=False, description="where logs grow; the temporary folder"),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Any:
        return cls(inst_data=inst_data, **config_value)

    @property
    def local_manager(self) -> LocalComputeLogManager:
        return self._local

    @property
    def upload_interval(self) -> int | None:
        return self._interval or None

    @property
    def _store(self) -> Store:
        if self._opened is None:
            self._opened = open_store(self._url, retries=RETRIES, retry_seconds=RETRY_SECONDS)
        return self._opened

    def _upload_file_obj(
        self, data: IO[bytes], log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        text = data.read()  # Dagster cuts it at 50 MB
        if text or not partial:
            self._store.put(_key(log_key, io_type, partial), text)

    def download_from_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        path = Path(self._local.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type], partial=partial))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._store.get(_key(log_key, io_type, partial)))

    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:
        try:
            return self._store.exists(_key(log_key, io_type, partial))
        except StoreFailed as error:  # the thread that watches would end with it, and show nobody's log any more
            logger.warning(str(error))
            return False

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        self._local.delete_logs(log_key=log_key, prefix=prefix)
        if log_key:
            wanted = {_key(log_key, io, partial) for io in ComputeIOType for partial in (False, True)}
            self._store.delete([key for key in self._below(log_key[:-1]) if key in wanted])
        elif prefix:
            self._store.delete(self._below(prefix))
        else:
            raise ValueError("delete_logs needs log_key or prefix")

    def _below(self, prefix: Sequence[str]) -> list[str]:
        return [found.key for found in self._store.list("/".join(("storage", *prefix)))]

    def get_log_keys_for_log_key_prefix(
        self, log_key_prefix: Sequence[str], io_type: ComputeIOType
    ) -> Sequence[list[str]]:
        found = [Path(key) for key in self._below(log_key_prefix)]
        return [[*log_key_prefix, one.stem] for one in found if one.suffix == f".{IO_TYPE_EXTENSION[io_type]}"]

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        return f"{self._url.rstrip('/')}/{_key(log_key, io_type)}"

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> None:
        """None: the web server shows it; a workload identity may not sign addresses."""

    def on_subscribe(self, subscription: CapturedLogSubscription) -> None:
        self._watchers.add_subscription(subscription)

    def on_unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        self._watchers.remove_subscription(subscription)

    def dispose(self) -> None:
        self._watchers.dispose()
        self._local.dispose()


def _key(log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> str:
    """The same names as Dagster's own managers give, so that an installation may go from one to the other."""
    *folders, name = log_key
    return "/".join(("storage", *folders, f"{name}.{IO_TYPE_EXTENSION[io_type]}{'.partial' if partial else ''}"))
