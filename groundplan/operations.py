"""Settings of what goes on without a person: nights, weekly care, and who is told of trouble.

Here: the sections `[nightly]` and `[notify]` of groundplan.toml. Not here: where settings come from (config.py), or
what is done with these (nightly.py, notices.py).
"""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)  # as config.Section


class NightlySettings(_Section):
    """What a night may make, and cost. Money is in the currency of the price."""

    start_hour: int = Field(22, ge=0, le=23, description="at which the night begins")
    hours: int = Field(8, ge=1, le=24, description="of a night; it goes by stages, several an hour")
    timezone: str = Field("UTC", description="of start_hour, such as Europe/Amsterdam")
    most_partitions: int = Field(1350, ge=0, description="regions and years that a night asks for; 0 makes none")
    most_cost: float = Field(25.0, ge=0, description="expected cost of a night, by what partitions cost before")
    price_per_cpu_hour: float = Field(0.015, ge=0, description="of one processor; for the ceiling and the reports")
    slice: int = Field(100, ge=1, le=1350, description="partitions of one backfill; the daemon plans it as a whole")
    most_failures: int = Field(3, ge=1, description="nights in a row after which a partition is left, and reported")
    collect_garbage: bool = Field(False, description="the weekly care removes what no manifest names")
    garbage_hours: float = Field(168.0, ge=24, description="age below which it removes nothing")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is no time zone; give one such as Europe/Amsterdam") from error
        return value


class NotifySettings(_Section):
    """Who is told when something is wrong. Without any address it is only written to the log."""

    webhook: str = Field("", description="URL that gets a JSON POST for each notice")
    sns_topic: str = Field("", description="ARN of an SNS topic")
    email_to: tuple[str, ...] = Field((), description="addresses that get an e-mail")
    email_from: str = Field("", description="sender of e-mails")
    smtp_host: str = Field("", description="mail server")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_starttls: bool = Field(True, description="refuse to send without encryption")
    smtp_user: str = Field("", description="empty: no log-in")
    smtp_password_env: str = Field("SMTP_PASSWORD", description="name of the environment variable with the password")
    timeout: float = Field(10.0, gt=0, le=60, description="seconds for one notice by one way")
    most_per_hour: int = Field(20, ge=1, le=1000, description="notices; more are counted and told together")
    queue_length: int = Field(500, ge=1, description="runs that wait, or messages of arrivals.queue, before it is said")
    queue_ticks: int = Field(5, ge=1, le=1000, description="looks in a row, a minute apart, that must find that many")
    missing_days: float = Field(3.0, gt=0, description="a partition may be missing or failed before it is said")

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s]+", value):
            raise ValueError("must be an http(s) address")
        return value

    @field_validator("sns_topic")
    @classmethod
    def _topic(cls, value: str) -> str:
        if value and not re.fullmatch(r"arn:aws[\w-]*:sns:[\w-]+:\d{12}:[\w.-]+", value):
            raise ValueError("must be an ARN such as arn:aws:sns:eu-west-1:123456789012:groundplan")
        return value

    @model_validator(mode="after")
    def _whole(self) -> NotifySettings:
        if self.email_to and not (self.smtp_host and self.email_from):
            raise ValueError("email_to needs smtp_host and email_from")
        if any("\n" in address or "\r" in address or "@" not in address for address in self.email_to):
            raise ValueError("email_to must be e-mail addresses")
        return self
