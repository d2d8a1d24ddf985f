"""The settings by which a project is operated: arrivals, the database, nights, notices, the pages and runs.

Here: a class for each of these tables of groundplan.toml. Not here: what is made and how (sections.py).
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from groundplan.config.section import Address, PublicAddress, Section


class ArrivalSettings(Section):
    """What the sensors make of new imagery, registers and models (docs/sensors.md)."""

    quiet_seconds: float = Field(60.0, ge=0, le=86_400, description="without a change: a region's delivery is over")
    sweep_minutes: float = Field(30.0, gt=0, description="with a queue: in which all of landing/ is listed once")
    queue: Address = Field(
        "", repr=False, description="URL of an SQS queue with the bucket's events; empty: listings only"
    )
    dead_letter_queue: Address = Field(
        "", repr=False, description="SQS queue of unreadable messages; empty: its own policy"
    )
    pushed: bool = Field(False, description="the bucket's events are pushed to /v1/arrivals; in place of a queue")
    most_runs: int = Field(50, ge=1, le=1000, description="partitions asked for as single runs; more: a backfill")
    on_new_model: Literal["all", "newest", "none"] = Field("newest", description="years that a new model predicts anew")
    one_run_sheets: int = Field(
        20,
        ge=0,
        description="up to so many files of a region and year go on to footprints in the run that takes them; 0: none",
    )

    @field_validator("queue", "dead_letter_queue")
    @classmethod
    def _queue_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must be a queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/imagery")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> ArrivalSettings:
        if self.queue and self.pushed:
            raise ValueError("events come by queue or are pushed: give one of both")
        return self


class ServingSettings(Section):
    """Where a browser finds pictures, maps and Dagster: pages link to each other by these."""

    url: PublicAddress = Field(
        "", repr=False, description="public address of `groundplan serve`; empty: no maps, pictures in the metadata"
    )
    dagster_url: PublicAddress = Field(
        "", repr=False, description="public address of Dagster's web UI, for links from the map; empty: none"
    )
    docs_url: PublicAddress = Field(
        "", repr=False, description="public address of the folder that holds docs/; empty: `groundplan serve` shows it"
    )
    hosts: tuple[str, ...] = Field(
        (), description="further names under which browsers reach it, as `*.example.org`; its url's is one already"
    )
    proxies: tuple[str, ...] = Field(
        (), description="addresses or networks of reverse proxies; whom they forward for is in X-Forwarded-For"
    )
    connections_per_address: int = Field(
        256, ge=8, le=100_000, description="at once, of one client; those of proxies are not counted so"
    )
    basemap: PublicAddress = Field(
        "", repr=False, description="tiles below the map, as `https://tiles.example.org/{z}/{x}/{y}.png`; empty: none"
    )
    basemap_attribution: str = Field(
        "", max_length=300, description="who is to be named for the basemap; without it no basemap is shown"
    )

    @model_validator(mode="after")
    def _credited(self) -> Self:
        if self.basemap and not self.basemap_attribution.strip():
            raise ValueError("a basemap needs serving.basemap_attribution: its makers are named on the map")
        return self

    @field_validator("basemap")
    @classmethod
    def _template(cls, value: str) -> str:
        if value and not (
            re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[\w./{}@-]+", value)
            and all(part in value for part in ("{z}", "{x}", "{y}"))
        ):
            raise ValueError("must be as https://tiles.example.org/{z}/{x}/{y}.png, without a query")
        return value

    @field_validator("url", "dagster_url", "docs_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s()<>\"'?#]+", value):
            raise ValueError("must be an address such as http://127.0.0.1:3001, without a query")
        return value.rstrip("/")

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?", name):
                raise ValueError(f"holds {name[:80]!r}, which is no host name; give maps.example.org, without a port")
        return value

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"holds {text[:80]!r}, which is no address and no network such as 10.0.0.0/8"
                ) from error
        return value


class DatabaseSettings(Section):
    """Where results lie for those who ask: a copy of the manifests, and what is in hand."""

    url: Address = Field(
        "", repr=False, description="`postgresql://HOST/DATABASE` with PostGIS; empty: a SQLite file in the home folder"
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and not re.match(r"(postgresql(\+psycopg)?|sqlite)://", value):
            raise ValueError(
                "must be as postgresql://db.example.org/groundplan, with the name and password in PGUSER and PGPASSWORD"
            )
        return value


class NightlySettings(Section):
    """What a night may make, and cost. Money is in `currency`."""

    start_hour: int = Field(22, ge=0, le=23, description="at which the night begins")
    hours: int = Field(8, ge=1, le=24, description="of a night; it goes by stages, several an hour")
    timezone: str = Field("UTC", description="of start_hour, such as Europe/Amsterdam")
    most_partitions: int = Field(1350, ge=0, description="regions and years that a night asks for; 0 makes none")
    most_cost: float = Field(25.0, ge=0, description="expected cost of a night, by what partitions cost before")
    price_per_cpu_hour: float = Field(0.015, ge=0, description="of one processor; for the ceiling and the reports")
    year_budget: float = Field(0.0, ge=0, description="for all of a year; `groundplan costs` compares; 0 is none")
    currency: str = Field("EUR", max_length=12, description="of the price and of all costs, as they are shown")
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


class NotifySettings(Section):
    """Who is told when something is wrong. Without any address it is only written to the log."""

    webhook: PublicAddress = Field("", repr=False, description="URL that gets a JSON POST for each notice")
    webhook_env: str = Field(
        "", repr=False, description="name of the environment variable with that URL, where the URL is a secret"
    )
    sns_topic: Address = Field("", repr=False, description="ARN of an SNS topic")
    email_to: tuple[str, ...] = Field((), description="addresses that get an e-mail")
    email_from: str = Field("", description="sender of e-mails")
    smtp_host: Address = Field("", repr=False, description="mail server")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_starttls: bool = Field(True, description="refuse to send without encryption")
    smtp_user: str = Field("", repr=False, description="empty: no log-in")
    smtp_password_env: str = Field(
        "SMTP_PASSWORD", repr=False, description="name of the environment variable with the password"
    )
    timeout: float = Field(10.0, gt=0, le=60, description="seconds for one notice by one way")
    most_per_hour: int = Field(20, ge=1, le=1000, description="notices; more are counted and told together")
    queue_length: int = Field(500, ge=1, description="runs that wait, or events of new imagery, before it is said")
    queue_ticks: int = Field(5, ge=1, le=1000, description="looks in a row, a minute apart, that must find that many")
    missing_days: float = Field(3.0, gt=0, description="a partition may be missing or failed before it is said")

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s]+", value):
            raise ValueError("must be an http(s) address")
        return value

    @field_validator("webhook_env", "smtp_password_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("must be the name of an environment variable in capitals, never what stands in it")
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


class RunSettings(Section):
    """How hard the machine is worked."""

    workers: int = Field(0, ge=0, description="blocks at once; 0 takes the processors that this process may use")
    scratch: float = Field(4.0, ge=0, description="GiB of disk for decoded JPEG 2000; 0: each block decodes its own")
    retries: int = Field(5, ge=0, description="tries after a store fault, with exponential back-off")
    retry_seconds: float = Field(120.0, gt=0, description="longest time spent on one request with all its retries")
    stretch_launches: float = Field(
        10.0,
        ge=0,
        le=1000,
        description="neighboring regions that each take less than a launch share a run until their work is so many "
        "launches long; 0: a run for each region",
    )
