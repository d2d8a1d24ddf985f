"""The settings of single images that arrive one by one: bounds, what is kept, whom is told, and how messages travel.

Here: `[single]`, `[[rules]]`, `[[webhooks]]` and `[messages]` of groundplan.toml. Not here: the service that answers at
once (api.py), image collections (sections.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from groundplan.config.section import Address, PublicAddress, Section

TARGET = re.compile(r"[a-z][a-z0-9_-]{0,59}")
BROKER, SNS = "broker", "sns"
"""Targets that need no table of their own."""
Targets = Annotated[tuple[str, ...], Field(max_length=16)]


class SingleSettings(Section):
    """What an image may cost, which models are asked about one that arrives, and what is kept of it."""

    models: tuple[str, ...] = Field(("footprints",), min_length=1, max_length=8, description="asked about each arrival")
    max_bytes: int = Field(20_000_000, ge=1024, description="an image with more is refused")
    max_pixels: int = Field(40_000_000, ge=1, description="an image with more is refused, undecoded")
    max_frames: int = Field(1, ge=1, le=256, description="pictures in a file; the first is used")
    max_seconds: float = Field(20.0, gt=0, le=600, description="of decoding; a whole image may take six times that")
    side: int = Field(
        0, ge=0, le=65_536, description="pixels; a larger picture is reduced before it is looked at; 0: never"
    )
    crop: bool = Field(False, description="look at the middle square alone")
    keep: bool = Field(True, description="store the picture, by its content; the result is stored in any case")
    keep_side: int = Field(0, ge=0, le=65_536, description="pixels to which a stored picture is reduced; 0: as it came")
    strip: bool = Field(True, description="take EXIF, GPS, comments and the like from what is stored")
    faces: bool = Field(False, description="look for faces and hide those that are found, before anything is stored")
    face_weights: str = Field("", description="file of CenterFace, from the home folder; empty: where install puts it")
    face_threshold: float = Field(0.2, gt=0, lt=1, description="lower finds more faces, and more that are none")
    to: Targets = Field((BROKER,), description="who is told of a result: broker, sns, or names of [[webhooks]]")
    sns_topic: Address = Field("", repr=False, description="ARN of the SNS topic that is the target `sns`")

    @field_validator("sns_topic")
    @classmethod
    def _topic(cls, value: str) -> str:
        if value and not re.fullmatch(r"arn:aws[\w-]*:sns:[\w-]+:\d{12}:[\w.-]+", value):
            raise ValueError("must be an ARN such as arn:aws:sns:eu-west-1:123456789012:groundplan")
        return value


class RuleSettings(Section):
    """What is done besides, or otherwise, with results that a rule fits; all that fit count, later ones last."""

    model: str = Field("", description="name of the model; empty: any")
    labels: tuple[str, ...] = Field((), description="the likeliest class is one of these; empty: any")
    least_confidence: float | None = Field(None, ge=0, le=1)
    most_confidence: float | None = Field(None, ge=0, le=1)
    least_buildings: int | None = Field(None, ge=0)
    most_buildings: int | None = Field(None, ge=0)
    faces: bool | None = Field(None, description="once any rule asks, faces are hidden")
    keep: bool | None = Field(None)
    keep_side: int | None = Field(None, ge=16, le=65_536, description="the smallest that is asked for counts")
    to: Targets = Field((), description="who is told besides")
    only_to: Targets | None = Field(None, description="who is told, and nobody else")


class WebhookSettings(Section):
    """Somebody who is told of results by an HTTP POST, signed."""

    name: str = Field(description="by which `to` names it")
    url: PublicAddress = Field("", repr=False)
    url_env: str = Field("", repr=False, description="environment variable with the URL, where it is a secret")
    secret_env: str = Field(repr=False, description="environment variable with the secret that signs")
    private: bool = Field(False, description="it may lie in a private network or on this machine")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not TARGET.fullmatch(value) or value in (BROKER, SNS):
            raise ValueError(f"must be a name of a-z, 0-9, - and _ other than {BROKER} and {SNS}")
        return value

    @field_validator("url_env", "secret_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("must be the name of an environment variable in capitals, never what stands in it")
        return value

    @model_validator(mode="after")
    def _addressed(self) -> WebhookSettings:
        if bool(self.url) == bool(self.url_env):
            raise ValueError(f"of webhook {self.name} either url or url_env is to be given")
        if self.url and not re.fullmatch(r"https?://[^\s]+", self.url):
            raise ValueError("must be an http(s) address")
        return self


class MessageSettings(Section):
    """How work travels: the broker, leases, tries, and where arrivals are looked for."""

    broker: Literal["table", "nats", "sqs"] = Field("table", description="table: of the results' database")
    nats_url: Address = Field("nats://127.0.0.1:4222", repr=False, description="server, or several with commas")
    nats_credentials: str = Field("", repr=False, description="a .creds file, from the home folder")
    nats_replicas: int = Field(1, ge=1, le=5, description="of a stream that is made; a cluster of three wants 3")
    queue: Address = Field("", repr=False, description="URL of the SQS queue of work")
    events_queue: Address = Field("", repr=False, description="URL of an SQS queue of events; empty: none is told")
    source: str = Field("/groundplan", min_length=1, max_length=200, description="the `source` of events")
    lanes: int = Field(0, ge=0, le=64, description="images at work at once; 0: the processors that may be used")
    batch: int = Field(16, ge=1, le=256, description="results that one transaction takes, at most")
    lease: float = Field(60.0, ge=1, le=900, description="seconds in which nobody else gets a message; renewed")
    tries: int = Field(5, ge=1, le=100, description="failures after which a message is set aside")
    deliveries: int = Field(25, ge=2, le=1000, description="times given out, as to workers that died, before it is")
    keep_days: float = Field(7.0, gt=0, le=3650, description="for which sent events and ids that came are remembered")
    inbox: bool = Field(True, description="look for images in the store's folder inbox/")
    look_seconds: float = Field(2.0, gt=0, le=3600, description="between two looks there")
    remove: bool = Field(True, description="take an image from inbox/ when its result is stored")
    oldest_minutes: float = Field(15.0, gt=0, description="a message that waits longer fails the check of image_inbox")
    arrivals_token_env: str = Field("", repr=False, description="variable with the token of those who push events")

    @field_validator("queue", "events_queue")
    @classmethod
    def _queue_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must be a queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/images")
        return value

    @model_validator(mode="after")
    def _whole(self) -> MessageSettings:
        if self.broker == "sqs" and not self.queue:
            raise ValueError("the broker sqs needs queue")
        return self
