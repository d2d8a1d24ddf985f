"""Where settings come from: `groundplan.toml` in the home folder, and over it the environment.

Here: reading both (by pydantic-settings), in which words a setting is refused, the first file of a new project.
Not here: which settings there are (sections.py).

`GROUNDPLAN_MODEL__MINUTES=5` overrides `minutes` in `[model]`. An unknown key is an error that lists what is allowed.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from groundplan.addresses import quoted
from groundplan.config.sections import Settings
from groundplan.errors import BadConfig

FILE = "groundplan.toml"
ENV = "GROUNDPLAN_"
NOT_KEYS = {"GROUNDPLAN_HOME"}  # says where the settings are
SERVICE_LINK = re.compile(r"(GROUNDPLAN(?:_[A-Z0-9]+)*?)_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?)$")
FINE_BELOW, FINE = 0.20, 0.10
"""On a grid finer than the first, metres per pixel, the networks of a new project see the second (docs/accuracy.md)."""


class _Loaded(Settings, BaseSettings):
    """Settings that were read: the same as any others, and pydantic-settings may gather them."""

    # the case of a section in the file matters; names of variables reach it in lower case
    model_config = SettingsConfigDict(case_sensitive=True, env_prefix=ENV.lower(), env_nested_delimiter="__")


class _Environment(EnvSettingsSource):
    """Variables of the environment, each read as TOML where it is, else as text: lists and words as in the file."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(_Loaded)
        self.env_vars = {name.lower(): _value(text) for name, text in variables.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return value  # pydantic-settings would read JSON


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def load(home: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of the project in the folder `home`. Raises BadConfig, naming the key and what is allowed."""
    path = Path(home) / FILE
    file = _read(path)
    given = os.environ if environ is None else environ
    own = {name: given[name] for name in sorted(given) if name.startswith(ENV) and name not in NOT_KEYS}
    own = {name: text for name, text in own.items() if not _of_a_service(name, own)}
    variables = {_key(name): name for name in own}
    try:
        return _Loaded(_build_sources=((_Environment(own), file), {}))
    except ValidationError as error:
        raise _refusal(error, str(path), variables) from error


def parse(raw: dict[str, Any], where: str) -> Settings:
    """Checked settings from a nested dict. Raises BadConfig."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise _refusal(error, where, {}) from error


def _read(path: Path) -> TomlConfigSettingsSource:
    """Raises BadConfig."""
    try:
        path.open("rb").close()  # a file that is not there would be taken for an empty one
        return TomlConfigSettingsSource(_Loaded, path)
    except (FileNotFoundError, NotADirectoryError):
        raise BadConfig(
            str(path), "there is no project in this folder", "Make one with `groundplan init FOLDER`, or give --home"
        ) from None
    except OSError as error:
        raise BadConfig(str(path), f"it cannot be read ({error.strerror})", "Check what it is") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(str(path), f"it is not valid TOML ({error})", "Mend that line") from error


def _key(variable: str) -> str:
    """The key that a variable sets, such as model.minutes. pydantic-settings passes over names that set none; here
    they raise BadConfig.
    """
    path, where = variable.removeprefix(ENV).lower().split("__"), f"{variable} in the environment"
    for depth, part in enumerate(path):
        section = _section(path[:depth])
        if section is None:
            raise BadConfig(where, f"'{path[depth - 1]}' is no section", "Remove that variable")
        if part not in section.model_fields:
            raise _unknown(where, path[: depth + 1])
    return ".".join(path)


def _of_a_service(variable: str, own: Mapping[str, str]) -> bool:
    """Whether Kubernetes made a variable: a Service groundplan-code puts GROUNDPLAN_CODE_PORT and its like into pods.

    By more than the name, or a key with one underscore too few would be passed over without a word.
    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    named = SERVICE_LINK.match(variable)
    return named is not None and f"{named[1]}_SERVICE_HOST" in own and "://" in own.get(f"{named[1]}_PORT", "")


def _section(path: Sequence[str]) -> type[BaseModel] | None:
    """The section that keys lead to, from the top; None where they lead to a value."""
    place: Any = Settings
    for part in path:
        place = place.model_fields[part].annotation
    return place if isinstance(place, type) and issubclass(place, BaseModel) else None


def _unknown(where: str, path: Sequence[str]) -> BadConfig:
    section = _section(path[:-1]) or Settings
    return BadConfig(
        where, f"unknown key '{'.'.join(path)}'", f"Allowed there: {', '.join(sorted(section.model_fields))}"
    )


def _refusal(error: ValidationError, where: str, variables: Mapping[str, str]) -> BadConfig:
    """The first thing that is wrong, in a line. variables: of each key that the environment set, which one."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    for depth in range(1, len(path) + 1):  # of a list, the variable set the whole
        if set_by := variables.get(".".join(path[:depth])):
            where = f"{set_by} in the environment"
    if first["type"] == "extra_forbidden":
        return _unknown(where, path)
    reason = first["msg"].removeprefix("Value error, ")
    if not path:
        return BadConfig(where, reason, "Mend it and try again")
    told = quoted(first["input"]) if first["type"] != "missing" and _may_be_quoted(path) else ""
    given = f", not {told}" if told else ""
    remedy = getattr(first.get("ctx", {}).get("error"), "remedy", "Mend it and try again")
    return BadConfig(where, f"'{'.'.join(path)}' {_lower(reason)}{given}", remedy)


def _may_be_quoted(path: Sequence[str]) -> bool:
    """Whether a message may show the value of a key; not of an address or of a name beside a secret."""
    place: Any = Settings
    for part in path:
        field = getattr(place, "model_fields", {}).get(part)
        if field is None:
            return True
        if not field.repr:
            return False
        place = field.annotation
    return True


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]  # EPSG stays as it is


def write(home: Path, grid: dict[str, Any], store: str, start: str = "") -> Path:
    """Write a new groundplan.toml that says what can be set. Raises BadConfig when there is one already.

    start: what its trainings start from, as `model.start`.
    """
    path = home / FILE
    if path.exists():
        raise BadConfig(str(path), "there is a project in this folder already", "Choose another folder")
    parse({"grid": grid, "store": store}, "the given options")
    x, y = grid["origin"]
    default = '# store = "s3://bucket/prefix"   # default: the folder `store` beside this file'
    where = f"store = {json.dumps(store)}" if store else default
    fine = grid["resolution"] < FINE_BELOW
    core = 1024 if FINE < grid["resolution"] < FINE_BELOW else 2048  # the network sees as many pixels or more
    seen = f"resolution = {FINE}" if fine else "# resolution = 0.0"
    started = f'start = "{start}"              # a model to learn on from; "" for none' if start else '# start = ""'
    text = f"""# A Groundplan project. docs/configuration.md lists every key; an unknown one is an error.
# Each key can be overridden by the environment: GROUNDPLAN_MODEL__MINUTES=5
{where}

[grid]                      # fixed once blocks exist: another grid is another project
crs = {json.dumps(grid["crs"], ensure_ascii=False)}
resolution = {grid["resolution"]!r}          # metres per pixel
block_size = {grid["block_size"]}           # pixels
origin = [{x!r}, {y!r}]    # upper left corner of block x0y0

[imagery]
reader = "auto"             # blocks are cut without GDAL where that is possible; "gdal": by GDAL alone, much slower

[model]
{started}
{seen}           # metres per pixel that the network sees; 0.1 tells houses apart, 0.2 predicts 3.6 times as fast
# encoder = "mobilenet_v2"
# encoder_weights = "imagenet"   # or "none", or the path of a .safetensors file
# minutes = 30.0                 # training budget

[predict]
core = {min(core, grid["block_size"])}                 # pixels of a window that are kept
precision = "auto"          # the numbers in which this machine is fastest; "f32": the same pixels on every processor
views = "unsure"            # what the first view is unsure of is seen again, turned; 2: everything

[footprints]
shared_walls = true         # touching buildings are squared together; without it each by itself

[quality]
# min_iou = 0.7                  # below this the quality check fails

[serving]                   # where `make dev` shows maps and pictures; every run's links lead there
url = "http://127.0.0.1:3001"
dagster_url = "http://127.0.0.1:3000"
"""
    temporary = path.with_suffix(".part")
    try:
        home.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise BadConfig(str(home), f"no project fits there ({error.strerror})", "Choose another folder") from error
    return path
