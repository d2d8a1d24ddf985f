"""The settings of the service that answers about single images and areas: the table `[api]` of groundplan.toml.

Here: what it answers with, and its bounds. Not here: pictures and maps (operating.py), or what an image is prepared
by (the steps' own table).
"""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from groundplan.config.section import Section

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ApiSettings(Section):
    """What `groundplan serve` answers about single images and areas, and how much of it at once."""

    models: tuple[str, ...] = Field((), description="names of the models that are answered with; empty: all there are")
    alias: str = Field("production", description="of a registered model: the version that is answered with")
    follow_seconds: float = Field(5.0, gt=0, le=3600, description="how often it is looked whether an alias moved")
    keep: int = Field(3, ge=1, le=64, description="models in memory at once; one more while another is exchanged")
    threads: int = Field(0, ge=0, le=256, description="of the network; 0: the processors that this process may use")
    budget_seconds: float = Field(1.5, gt=0, le=600, description="of waiting; who would wait longer is told to return")
    deadline_seconds: float = Field(
        30.0, gt=0, le=600, description="from request to answer; X-Deadline-Ms may ask less"
    )
    body_seconds: float = Field(20.0, gt=0, le=600, description="in which a request's body must have come")
    max_bytes: int = Field(20_000_000, ge=1024, description="of a request's body, and of an image")
    max_base64_bytes: int = Field(4_000_000, ge=1024, description="of an image within JSON")
    max_pixels: int = Field(40_000_000, ge=1, description="of an image; one with more is refused, undecoded")
    most_files: int = Field(8, ge=1, le=100, description="images in one form")
    rate: float = Field(20.0, gt=0, le=100_000, description="requests a second of a key that states no rate of its own")
    most_km2: float = Field(25.0, gt=0, description="of a box or region that is asked to be predicted")
    most_jobs: int = Field(16, ge=1, le=10_000, description="areas that wait or are at work; more are refused")

    @field_validator("models")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not MODEL_NAME.fullmatch(name):
                raise ValueError(f"holds {name[:80]!r}, which is no model's name")
        return value

    @field_validator("alias")
    @classmethod
    def _alias(cls, value: str) -> str:
        if not MODEL_NAME.fullmatch(value):
            raise ValueError("must be an alias such as production or candidate")
        return value
