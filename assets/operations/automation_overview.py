"""What starts what, and on which pod: launch profiles, schedules, sensors and automation, from the definitions."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.describe import DEFAULT, OWNERS, PROFILE_TAG, WEEKLY, about
from assets.report import rows
from groundplan.core.templates import templates
from groundplan.step import About
from resources.project import ProjectResource

Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


@dg.asset(
    group_name="operations",
    kinds={"html"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    description="A catalogue for whoever operates the project: every asset with its launch profile and who starts it, "
    "every schedule and sensor with its rhythm and whether it is on. Made from the definitions themselves.",
    metadata=about(About(page="docs/web-ui.md")),
    freshness_policy=WEEKLY,
)
def automation_overview(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    tables = sheet_catalog(context.repository_def, context.instance)
    key = "previews/automation_overview.html"
    opened.store.put(key, page(tables))
    metadata: dict[str, Any] = {title: rows(header, lines) for title, header, lines in tables if lines}
    metadata["page"] = opened.store.uri(key)
    if root := opened.settings.serving.url:
        metadata["page"] = dg.MetadataValue.url(f"{root}/{key}")
    return dg.MaterializeResult(metadata=metadata)


def sheet_catalog(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance) -> list[Table]:
    """Tables of (title, header, lines): what the code location holds, and what of it is switched on in the instance."""
    switched = instance.all_instigator_state() if instance.schedule_storage else []  # an instance in memory has none
    states = {state.instigator_name: state.status.value for state in switched}
    return [
        ("profiles", ("profile", "assets"), profiles(repository)),
        ("schedules", ("schedule", "when", "time zone", "state", "what for"), _schedules(repository, states)),
        ("sensors", ("sensor", "looks every", "state", "what for"), _sensors(repository, states)),
        ("automation", ("asset", "starts when"), automation(repository)),
    ]


def _schedules(repository: dg.RepositoryDefinition, states: dict[str, str]) -> list[tuple[Any, ...]]:
    return [
        (one.name, one.cron_schedule, one.execution_timezone or "UTC", _state(one, states), _first(one.description))
        for one in repository.schedule_defs
    ]


def _sensors(repository: dg.RepositoryDefinition, states: dict[str, str]) -> list[tuple[Any, ...]]:
    return [
        (one.name, f"{one.minimum_interval_seconds or 30} s", _state(one, states), _first(one.description))
        for one in repository.sensor_defs
    ]


def profiles(repository: dg.RepositoryDefinition) -> list[tuple[Any, ...]]:
    """Launch profile and the assets that ask for it; docs/kubernetes.md says what pod each is."""
    found: dict[str, list[str]] = {}
    graph = repository.asset_graph
    for key in sorted(graph.materializable_asset_keys):
        found.setdefault(graph.get(key).tags.get(PROFILE_TAG, DEFAULT), []).append(key.to_user_string())
    return [(name, ", ".join(assets)) for name, assets in sorted(found.items())]


def automation(repository: dg.RepositoryDefinition) -> list[tuple[Any, ...]]:
    """What starts an asset by itself; the others wait for a sensor, a backfill or a person."""
    graph = repository.asset_graph
    lines = []
    for key in sorted(graph.materializable_asset_keys):
        condition = graph.get(key).automation_condition
        said = (condition.get_label() or type(condition).__name__) if condition else "a sensor, a backfill or a person"
        lines.append((key.to_user_string(), said))
    return lines


def _state(one: Any, states: dict[str, str]) -> str:
    """What a person switched it to, else what the code says."""
    status = states.get(one.name)
    if status in (None, "DECLARED_IN_CODE", "AUTOMATICALLY_RUNNING"):
        status = one.default_status.value
    return "on" if status == "RUNNING" else "off"


def _first(text: str | None) -> str:
    """A description's first sentence."""
    return (text or "").strip().split("\n\n")[0].replace("\n", " ").split(". ")[0]


def page(tables: Sequence[Table]) -> bytes:
    """The same as HTML that needs nothing beside it."""
    template = templates(__package__).get_template("automation_overview.html.j2")
    return template.render(tables=tables).encode()
