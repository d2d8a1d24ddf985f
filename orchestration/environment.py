"""What the environment of Dagster's code says of sensors and schedules: one place, one default for each variable.

Here: whether they are on, and their rhythm. Not here: the project's settings (groundplan/config), which hold for the
command line too. https://docs.pydantic.dev/latest/concepts/pydantic_settings/
"""

from __future__ import annotations

import dagster as dg
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from groundplan.addresses import quoted
from groundplan.errors import BadConfig


class SensorEnvironment(BaseSettings):
    """A field is set by the variable of its name in capitals, such as SENSORS_ON=1; an empty one counts as not set."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    sensors_on: bool = Field(False, description="on from the first start; what is switched in the UI wins from then on")
    sensors_seconds: int = Field(30, ge=1, description="between two looks of a sensor at new work")
    nightly_cron: str = Field("*/15 * * * *", description="looks of nightly_backfill; by day a look asks for nothing")

    @property
    def sensor_status(self) -> dg.DefaultSensorStatus:
        return dg.DefaultSensorStatus.RUNNING if self.sensors_on else dg.DefaultSensorStatus.STOPPED

    @property
    def schedule_status(self) -> dg.DefaultScheduleStatus:
        return dg.DefaultScheduleStatus.RUNNING if self.sensors_on else dg.DefaultScheduleStatus.STOPPED


def sensor_environment() -> SensorEnvironment:
    """As it is now. Raises BadConfig, naming the variable."""
    try:
        return SensorEnvironment()
    except ValidationError as error:
        first = error.errors()[0]
        name, said = str(first["loc"][0]).upper(), first["msg"]
        where = f"{name} in the environment of Dagster's code"
        raise BadConfig(where, f"{said}, not {quoted(first['input'])}", "Mend or remove that variable") from error
