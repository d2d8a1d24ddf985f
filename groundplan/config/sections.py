"""The settings of a project, section by section: names, defaults, limits and what each is for.

Here: a class for each table of groundplan.toml. Not here: where values come from (sources.py), what is done with them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from groundplan.config.api import ApiSettings
from groundplan.config.credits import CreditSettings
from groundplan.config.images import BROKER, SNS, MessageSettings, RuleSettings, SingleSettings, WebhookSettings
from groundplan.config.operating import (
    ArrivalSettings,
    DatabaseSettings,
    NightlySettings,
    NotifySettings,
    RunSettings,
    ServingSettings,
)
from groundplan.config.section import Address, NamedShares, Section
from groundplan.config.watching import DriftSettings, ReviewSettings

Band = Annotated[int, Field(ge=1)]


def _crs_text(value: str) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(value)
    except CRSError as error:
        raise ValueError("is not a CRS that PROJ knows; give one such as EPSG:28992") from error
    return value


class GridSettings(Section):
    """The one raster that every block of the project lies on."""

    crs: str
    resolution: float = Field(gt=0, le=100, description="metres per pixel")
    block_size: int = Field(8192, ge=256, le=32768, description="pixels, a multiple of 256")
    origin: tuple[float, float] = Field(description="upper left corner of block x0y0, in CRS units")

    @field_validator("block_size")
    @classmethod
    def _whole_windows(cls, value: int) -> int:
        if value % 256:
            raise ValueError("must be a multiple of 256, so that COG tiles and prediction windows fill a block")
        return value

    @field_validator("crs")
    @classmethod
    def _projected(cls, value: str) -> str:
        from pyproj import CRS

        crs = CRS.from_user_input(_crs_text(value))
        if not crs.is_projected or any(axis.unit_name not in ("metre", "meter") for axis in crs.axis_info):
            raise ValueError(
                f"{value} is {'geographic' if crs.is_geographic else 'not in metres'}; blocks are square on the "
                "ground, so a projected CRS in metres is needed, such as EPSG:28992 or EPSG:32645"
            )
        return value


class ImagerySettings(Section):
    """How delivered sheets are read and how blocks are stored."""

    bands: tuple[Band, ...] = Field((1, 2, 3), min_length=1, max_length=8, description="of a sheet, counted from 1")
    uint16_range: tuple[float, float] | None = Field(None, description="values of a 16-bit sheet that become 0 and 255")
    nodata: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        (), max_length=8, description="8-bit values, such as [0], that are no imagery where they join a sheet's edge"
    )
    nodata_tolerance: int = Field(
        16, ge=0, le=64, description="by which such ground may differ: lossy packing blurs it"
    )
    assume_crs: str | None = Field(None, description="CRS of sheets that state none")
    resampling: Literal["nearest", "bilinear", "cubic", "lanczos"] = "cubic"
    compress: Literal["jpeg", "deflate", "zstd"] = "jpeg"
    quality: int = Field(90, ge=50, le=100, description="JPEG quality")
    reader: Literal["auto", "gdal"] = Field(
        "gdal", description="`auto`: JPEG blocks are cut without GDAL where that is possible; on in new projects"
    )
    copy_tiles: bool = Field(False, description="a sheet's JPEG tiles that are tiles of a block are not coded again")
    reference_roots: tuple[Address, ...] = Field((), repr=False, description="URLs below which a `.ref` may point")
    max_pixels: int = Field(3_000_000_000, gt=0, description="a sheet with more pixels is refused")
    max_bytes: int = Field(64 * 2**30, gt=0, description="a sheet with more bytes is refused")
    years: tuple[Annotated[int, Field(ge=1900, le=2099)], ...] = Field(
        (), description="years that Dagster shows beside those delivered and the coming one"
    )

    @field_validator("assume_crs")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else _crs_text(value)

    @model_validator(mode="after")
    def _jpeg_bands(self) -> ImagerySettings:
        if self.compress == "jpeg" and len(self.bands) not in (1, 3):
            raise ValueError(f"JPEG holds 1 or 3 bands, not {len(self.bands)}; set compress to 'deflate' or 'zstd'")
        if self.uint16_range and self.uint16_range[0] >= self.uint16_range[1]:
            raise ValueError("uint16_range must be [low, high] with low < high")
        return self

    @property
    def direct(self) -> dict[str, object]:
        """That blocks are cut without GDAL where that is possible, as part of a fingerprint: other bytes come of it."""
        if self.reader != "auto" or self.compress != "jpeg" or len(self.bands) != 3:
            return {}
        return {"cut": "direct", "tiles": "copied"} if self.copy_tiles else {"cut": "direct"}

    @property
    def no_imagery(self) -> dict[str, object]:
        """`nodata` as part of a fingerprint: nothing where it is as most projects have it."""
        usual = ImagerySettings.model_fields["nodata_tolerance"].default
        if not self.nodata and self.nodata_tolerance == usual:
            return {}
        return {"nodata": list(self.nodata), "nodata_tolerance": self.nodata_tolerance}


class LabelSettings(Section):
    """How building polygons become classes of pixels; both widths are those of the method's first prototype."""

    inner_edge: float = Field(0.45, ge=0, description="metres inside a footprint that count as its edge")
    gap: float = Field(0.75, ge=0, le=2, description="metres: ground this near to two buildings is a gap between them")


class RegisterSettings(Section):
    """How registers, and other polygons that are given, are read: which features count, and what reading may take."""

    where: str = Field("", description="SQL condition on columns that a register's buildings must meet")
    built: tuple[str, ...] = Field((), description="more columns that say when a building was built")
    demolished: tuple[str, ...] = Field((), description="more columns that say when it was gone")
    status: tuple[str, ...] = Field((), description="more columns that say whether it stands")
    planned_words: tuple[str, ...] = Field((), description="more values of a status: not built yet")
    gone_words: tuple[str, ...] = Field((), description="more values of a status: demolished")
    max_features: int = Field(50_000_000, ge=1, description="a file with more features is refused")
    max_memory: float = Field(16.0, ge=1, description="GiB; reading takes at most 1.5 and 12 times the file's size")
    max_seconds: int = Field(3600, ge=10, description="of processor time; reading takes at most 30 and 1 for each MB")
    max_decoded: float = Field(8.0, gt=0, description="GiB; a file unpacks to at most 100 times its size, or 16 MiB")


class SplitSettings(Section):
    """Which ground is learned from, which chooses settings, which is only for the test."""

    cell: float = Field(64.0, gt=8, description="metres; side of a cell that belongs to one split")
    window: int = Field(1024, ge=128, le=4096, description="pixels of a training window")
    overlap: int = Field(256, ge=0, description="pixels that neighbouring windows share")
    max_windows: int = Field(600, ge=1, description="windows held in memory; the heaviest are taken")
    sample: Literal["heaviest", "strata"] = Field(
        "heaviest", description="windows learned from: the heaviest, or all, streamed by region, year and density"
    )
    years: Literal["own", "all"] = Field(
        "own", description="labels learned from: of the model's own year, or of all years up to it; needs 'strata'"
    )
    trust: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], AfterValidator(NamedShares)] = Field(
        {},
        validate_default=True,
        description="how much labels of a region count where windows are streamed; 1 where none is given",
    )
    half_life: float = Field(
        0.0, ge=0, description="years by which older labels count half where windows are streamed; 0: all alike"
    )
    turn: int = Field(0, ge=0, le=6, description="turn of the pattern of cells: over 0 to 6 each is test ground once")

    @model_validator(mode="after")
    def _forward(self) -> SplitSettings:
        if self.overlap >= self.window:
            raise ValueError(f"overlap must be smaller than window, {self.window}")
        if self.years == "all" and self.sample != "strata":
            raise ValueError("years = 'all' needs sample = 'strata': the heaviest windows would be those of one year")
        return self

    @property
    def identity(self) -> dict[str, object]:
        """As part of the windows' fingerprint: newer settings only where they are set, so that older ones stay."""
        usual = {"turn": 0, "sample": "heaviest", "years": "own"}
        same = {name for name, value in usual.items() if getattr(self, name) == value}
        return self.model_dump(exclude={*same, "trust", "half_life"})

    @property
    def shares(self) -> dict[str, object]:
        """How windows are drawn, as part of a model's fingerprint: nothing where the heaviest are learned from."""
        names = {"sample", "years", "trust", "half_life", "max_windows"}
        return self.model_dump(include=names) if self.sample == "strata" else {}


class ModelSettings(Section):
    """The network and how long it may learn."""

    encoder: str = "mobilenet_v2"
    encoder_weights: Address = Field(
        "imagenet", repr=False, description="'imagenet', 'none', or the path of a .safetensors file"
    )
    start: Address = Field(
        "",
        repr=False,
        description="a whole model to learn on from: 'starter', 'baseline' (one of all labelled regions, made before), "
        "a model's .zip, or a .safetensors file",
    )
    resolution: float = Field(0.0, ge=0, description="metres per pixel that the network sees; 0 chooses")
    minutes: float = Field(30.0, gt=0, description="training budget, wall time without interruptions")
    steps: int | None = Field(None, ge=1, description="train exactly so many steps instead of by time")
    batch: int = Field(8, ge=1)
    crop: int = Field(256, ge=32, description="pixels of a training crop, at the network's resolution")
    learning_rate: float = Field(1e-3, gt=0)
    seed: int = 7

    @field_validator("crop")
    @classmethod
    def _stride(cls, value: int) -> int:
        if value % 32:
            raise ValueError("must be a multiple of 32, the encoder's stride")
        return value


class MiningSettings(Section):
    """Places on empty ground where the model sees buildings, learned from if that pays: `groundplan mine`."""

    rounds: int = Field(0, ge=0, le=5, description="rounds of mining; 0: none, and no place is looked for")
    share: float = Field(0.2, gt=0, le=0.2, description="most share of crops that come from mined places")
    score: float = Field(0.5, gt=0, lt=1, description="probability of a building from which a place is one")
    area: float = Field(6.0, gt=0, description="m2; least area of a place")
    most: int = Field(400, ge=1, description="places of a region and year; those of the highest score are kept")
    steps: int | None = Field(None, ge=1, description="steps of each training of a trial; by default the model's own")


class TrainingLogSettings(Section):
    """What is written down of a training, below `logs/training` in the store; it changes nothing of the model."""

    log: tuple[Literal["csv", "tensorboard"], ...] = Field(
        ("csv",), description="'csv', 'tensorboard' (events; needs the extra `tensorboard`), both, or none"
    )


class PredictSettings(Section):
    """How the network is run over a block. What changes a pixel is part of what a block's identity says."""

    core: int = Field(
        1024, ge=128, description="pixels of a window that are kept; at most the block size; 2048 in new projects"
    )
    margin: int = Field(128, ge=0, le=256, description="pixels around the core that the network sees too")
    precision: Literal["f32", "bf16", "f16", "auto"] = Field(
        "f32", description="of a network's numbers, part of what a block's identity says; auto: what is fastest here"
    )
    runtime: Literal["auto", "openvino", "torch"] = Field(
        "auto", description="what runs the network; auto: torch on a GPU where there is one, else OpenVINO"
    )
    views: Literal[1, 2, 4, 8, "unsure"] = Field(
        2, description="times a window is seen, turned; each costs a prediction; 'unsure': twice where the first is"
    )
    skip_empty: bool = Field(
        False, description="do not run windows that a coarse pass of the network finds empty; on processors only"
    )
    model_year: int | None = Field(None, description="use this year's model for all years")
    model_alias: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9_-]{0,63})?$",
        description="use the registry's version of this alias for all years",
    )


class FootprintSettings(Section):
    """From probabilities to polygons. The thresholds come with the model; these are about shape."""

    halo: int = Field(128, ge=16, le=256, description="pixels seen of neighbouring blocks to tell buildings apart")
    simplify: float = Field(0.5, ge=0, description="metres")
    regularise: bool = True
    shared_walls: bool = Field(
        False, description="square touching buildings together, so that they share a wall; on in new projects"
    )


class ChangeSettings(Section):
    """What became of each building since the year before: `building_changes`."""

    compare: bool = Field(False, description="whether each year is compared with the region's year before")
    null_pixels: float = Field(
        0.5, ge=0, le=4, description="pixels by which a year is shifted against itself, to count false alarms"
    )


class NationSettings(Section):
    """All regions of a year in one set of files."""

    merge: bool = Field(False, description="whether the project has `national_footprints` without being asked for it")
    part: float = Field(
        8192.0, gt=0, description="metres: edge of the square of ground of one file, rounded to whole blocks"
    )


class QualitySettings(Section):
    """What the asset checks demand; a figure below `min_iou` fails the check as an error, not as a warning."""

    min_iou: float = Field(0.0, ge=0, le=1)
    min_f1: float = Field(0.0, ge=0, le=1)
    boundary: float = Field(1.0, gt=0, description="metres of the band of the boundary IoU")
    datum_tolerance: float | None = Field(
        None, ge=0, description="metres: a datum shift that may be off by more is named; by default a pixel of the grid"
    )


class CollectionSettings(Section):
    """Image collections: how pictures in class folders are read, described and kept."""

    features: Literal["deep", "orb"] = Field("deep", description="of a network, or ORB as a bag of visual words")
    encoder: str = Field("mobilenet_v2", description="any encoder of timm, such as 'vgg16'; an .onnx needs none")
    weights: Address = Field(
        "imagenet", repr=False, description="'imagenet' (downloaded by timm), or path of .onnx or .safetensors"
    )
    scaling: Literal["auto", "imagenet", "symmetric"] = Field(
        "auto", description="of colours: ImageNet's mean and deviation (auto, of its weights), or -1 to 1 (of a file)"
    )
    size: int = Field(224, ge=32, le=1024, description="pixels; side of the square that an image is resized to")
    shard: int = Field(2000, ge=1, le=100_000, description="images in one object of features, at most")
    words: int = Field(500, ge=2, le=4096, description="visual words of the vocabulary")
    variance: float = Field(0.95, gt=0, le=1, description="share of the variance that the kept components explain")
    fine_tune: float = Field(0.0, ge=0, le=1440, description="minutes of fine-tuning the encoder; 0: none")
    groups: Literal["auto", "looks", "none"] = Field(
        "auto", description="what keeps near-duplicates in one split: numbered series and looks, looks alone, nothing"
    )
    thumbnails: bool = Field(True, description="whether pictures of the collection show its images")
    blur_faces: bool = Field(False, description="blur the faces that are found, before an image is stored")
    region: tuple[Address, ...] = Field(
        (), repr=False, description="bucket regions and URL prefixes where images may lie; empty: all"
    )
    retention_days: int | None = Field(None, ge=1, description="days after which images are to be forgotten")
    concurrency: int = Field(64, ge=1, le=1024, description="requests in flight")
    max_pixels: int = Field(64_000_000, gt=0, description="an image with more is read reduced, or refused")
    max_bytes: int = Field(64 * 2**20, gt=0, description="an image with more is refused")

    @field_validator("size")
    @classmethod
    def _strides(cls, value: int) -> int:
        if value % 32:
            raise ValueError("must be a multiple of 32, the encoder's stride")
        return value


class Settings(Section):
    """All of groundplan.toml."""

    store: Address = Field(
        "", repr=False, description="URL of the object store; empty is the folder `store` in the home folder"
    )
    proj: str = Field(
        "", description="folder with PROJ's grids of datum shifts; empty is the folder `proj` in the home"
    )
    grid: GridSettings
    imagery: ImagerySettings = ImagerySettings()
    labels: LabelSettings = LabelSettings()
    registers: RegisterSettings = RegisterSettings()
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    mining: MiningSettings = MiningSettings()
    training: TrainingLogSettings = TrainingLogSettings()
    predict: PredictSettings = PredictSettings()
    footprints: FootprintSettings = FootprintSettings()
    changes: ChangeSettings = ChangeSettings()
    nation: NationSettings = NationSettings()
    quality: QualitySettings = QualitySettings()
    credits: CreditSettings = CreditSettings()
    collections: CollectionSettings = CollectionSettings()
    serving: ServingSettings = ServingSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    arrivals: ArrivalSettings = ArrivalSettings()
    nightly: NightlySettings = NightlySettings()
    drift: DriftSettings = DriftSettings()
    review: ReviewSettings = ReviewSettings()
    notify: NotifySettings = NotifySettings()
    run: RunSettings = RunSettings()
    single: SingleSettings = SingleSettings()
    rules: tuple[RuleSettings, ...] = Field((), max_length=64, description="tables [[rules]]: docs/messages.md")
    webhooks: tuple[WebhookSettings, ...] = Field(
        (), max_length=16, description="tables [[webhooks]]: docs/messages.md"
    )
    messages: MessageSettings = MessageSettings()

    @model_validator(mode="after")
    def _known_targets(self) -> Settings:
        known = {BROKER, SNS, *(webhook.name for webhook in self.webhooks)}
        asked = [self.single.to, *((*rule.to, *(rule.only_to or ())) for rule in self.rules)]
        if strange := sorted({name for names in asked for name in names} - known):
            raise ValueError(f"'{strange[0][:60]}' is told of results, and no [[webhooks]] has that name")
        if any(SNS in names for names in asked) and not self.single.sns_topic:
            raise ValueError("sns is told of results, and single.sns_topic is not set")
        return self
