"""What the environment says of sensors and schedules: one default for each variable, and a bad one is named."""

from __future__ import annotations

import dagster as dg
import pytest

from groundplan.errors import BadConfig
from orchestration.environment import sensor_environment
from orchestration.schedules import nightly_backfill
from orchestration.sensors.automation import sensor

VARIABLES = ("SENSORS_ON", "SENSORS_SECONDS", "NIGHTLY_CRON")


@pytest.mark.parametrize("value", [None, ""])
def test_without_variables_all_is_off_and_one_rhythm_holds_for_all(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    found = sensor_environment()
    assert found.sensor_status == dg.DefaultSensorStatus.STOPPED
    assert found.schedule_status == dg.DefaultScheduleStatus.STOPPED
    assert sensor().minimum_interval_seconds == found.sensors_seconds == 30
    assert nightly_backfill().cron_schedule == "*/15 * * * *"


def test_each_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("1", "5", "0 3 * * *"), strict=True):
        monkeypatch.setenv(name, value)
    assert sensor_environment().sensor_status == dg.DefaultSensorStatus.RUNNING
    assert sensor_environment().schedule_status == dg.DefaultScheduleStatus.RUNNING
    assert sensor().minimum_interval_seconds == 5
    assert nightly_backfill().cron_schedule == "0 3 * * *"


@pytest.mark.bad_input
@pytest.mark.parametrize(("name", "value"), [("SENSORS_SECONDS", "0"), ("SENSORS_SECONDS", "x"), ("SENSORS_ON", "?")])
def test_a_variable_that_makes_no_sense_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=f"{name} in the environment of Dagster's code"):
        sensor_environment()
