"""What a night asks for: the newest year first, within its bounds, in stages, never over what runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.config import NightlySettings
from groundplan.core.manifest import committed, need_manifest
from groundplan.core.partition import Partition
from groundplan.operations import cost_estimate
from groundplan.operations.backlog import STAGE, STAGES, Choice, Night, choose, night_of
from groundplan.operations.status import DAMAGED, FAILED, MADE, MISSING, Entry
from groundplan.pipeline import ALWAYS, ASSETS, STEPS
from groundplan.project import open_project

TONIGHT = date(2026, 11, 20)
REGIONS = ("noord", "oost", "zuid")
YEARS = (2023, 2024)
PLACES = [Partition(year, region) for year in YEARS for region in REGIONS]


def country(**states: str) -> list[Entry]:
    """All made, but for datasets given with another state; `aerial_tiles__2024_noord="missing"` for one place."""
    entries = []
    for name in ALWAYS:
        for place in PLACES if (not STEPS[name].scope.wide) else [Partition(year) for year in YEARS]:
            state = states.get(name, MADE)
            entries.append(Entry(name, place, states.get(f"{name}__{place.year}_{place.region}", state)))
    return entries


def night(entries: list[Entry], **more: object) -> Choice:
    known = {"registers": YEARS, **more}
    limits = known.pop("limits", NightlySettings())
    assert isinstance(limits, NightlySettings)
    return choose(Night(date=TONIGHT, entries=entries, **{"busy": (), **known}), limits)  # type: ignore[arg-type]


def asked(choice: Choice) -> list[tuple[str, Partition]]:
    return [(name, place) for part in choice.slices for place in part.partitions for name in part.assets]


def test_every_dataset_has_a_stage() -> None:
    assert set(STAGE) == set(ASSETS)
    order = [STAGE[name] for name in ASSETS]
    assert order == sorted(order), "stages go the way that data flows"


def test_a_country_that_is_all_made_asks_for_nothing() -> None:
    assert night(country()) == Choice(())


def test_only_what_is_missing_or_failed_is_asked_for() -> None:
    entries = country(predictions__2024_noord=MISSING, labels__2023_zuid=FAILED)
    assert set(asked(night(entries))) == {("predictions", PLACES[3]), ("labels", PLACES[2])}
    entries = country(predictions__2024_noord=DAMAGED)
    assert asked(night(entries)) == [("predictions", PLACES[3])]


def test_the_newest_year_comes_first_and_the_bound_cuts_the_oldest() -> None:
    choice = night(country(predictions=MISSING), limits=NightlySettings(most_partitions=4))
    assert [place.year for _, place in asked(choice)] == [2024, 2024, 2024, 2023]
    assert (choice.partitions, choice.beyond) == (4, 2)


def test_slices_are_short_and_say_what_they_do() -> None:
    choice = night(country(predictions=MISSING), limits=NightlySettings(slice=2))
    assert [part.title for part in choice.slices] == [
        "nightly 2026-11-20: 2024, 2 partitions of predictions (1 of 4)",
        "nightly 2026-11-20: 2024, 1 partition of predictions (2 of 4)",
        "nightly 2026-11-20: 2023, 2 partitions of predictions (3 of 4)",
        "nightly 2026-11-20: 2023, 1 partition of predictions (4 of 4)",
    ]
    assert len({part.key for part in choice.slices}) == 4


def test_the_cost_ceiling_holds_with_what_was_spent_before() -> None:
    entries, limits = country(predictions=MISSING), NightlySettings(most_cost=10.0)
    costs = {"predictions": 3.0}
    choice = night(entries, costs=costs, limits=limits)
    assert (choice.partitions, choice.cost, choice.beyond) == (3, 9.0, 3)
    assert night(entries, costs=costs, limits=limits, spent=5.0).partitions == 1
    assert night(entries, costs=costs, limits=limits, spent=9.0).partitions == 0
    assert night(entries, limits=NightlySettings(most_partitions=4), spent_partitions=3).partitions == 1


def test_stages_wait_for_each_other_within_a_year() -> None:
    """Blocks read across borders: a region is not predicted while another's tiles are asked for."""
    entries = country(aerial_tiles__2024_noord=MISSING, predictions__2024_oost=MISSING, predictions__2023_oost=MISSING)
    choice = night(entries)
    assert set(asked(choice)) == {("aerial_tiles", PLACES[3]), ("predictions", PLACES[1])}
    assert choice.waiting == 1


def test_a_stage_that_is_at_work_holds_the_later_ones() -> None:
    entries = country(aerial_tiles__2024_noord=MISSING, predictions__2024_oost=MISSING)
    assert not asked(night(entries, busy={("aerial_tiles", PLACES[3])}))


def test_a_whole_chain_is_asked_for_stage_by_stage() -> None:
    entries = country(**dict.fromkeys(ALWAYS, MISSING))
    seen = []
    for _ in range(len(STAGES) + 1):
        found = {target for target in asked(night(entries)) if target[1].year == 2024}
        if not found:
            break
        seen.append({name for name, _ in found})
        entries = [Entry(e.dataset, e.partition, MADE) if (e.dataset, e.partition) in found else e for e in entries]
    stages = [set(names) & set(ALWAYS) for names in STAGES]
    assert seen == [names for names in stages if names]


def test_what_cannot_be_made_is_not_asked_for() -> None:
    nothing = country(labels=MISSING, training_windows=MISSING, trained_model=MISSING, predictions=MISSING)
    assert not asked(night(nothing, registers=()))
    assert {name for name, _ in asked(night(nothing, registers=(), model_year=2024))} == set()
    with_model = country(labels=MISSING, predictions=MISSING)
    assert {name for name, _ in asked(night(with_model, registers=(), model_year=2024))} == {"predictions"}


def test_what_failed_too_often_is_left_and_said() -> None:
    entries = country(labels__2024_noord=FAILED)
    target = ("labels", PLACES[3])
    assert asked(night(entries, failures={target: 2})) == [target]
    left = night(entries, failures={target: 3})
    assert (asked(left), left.given_up) == ([], (target,))


state = st.sampled_from([MADE, MISSING, FAILED])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_never_what_runs_never_twice_never_beyond(data: st.DataObject) -> None:
    entries = [Entry(entry.dataset, entry.partition, data.draw(state)) for entry in country()]
    targets = [(entry.dataset, entry.partition) for entry in entries]
    busy = set(data.draw(st.lists(st.sampled_from(targets), max_size=5)))
    before = set(data.draw(st.lists(st.sampled_from(targets), max_size=5)))
    limits = NightlySettings(
        most_partitions=data.draw(st.integers(0, 8)),
        most_cost=data.draw(st.floats(0, 8)),
        slice=data.draw(st.integers(1, 4)),
    )
    costs = dict.fromkeys(ASSETS, 0.7)
    choice = night(entries, busy=busy, asked=before, costs=costs, limits=limits)
    found = asked(choice)
    assert len(found) == len(set(found))
    assert not set(found) & (busy | before)
    busy_places = {place for _, place in busy}
    assert not {place for _, place in found} & busy_places
    states = {(entry.dataset, entry.partition): entry.state for entry in entries}
    assert all(states[target] != MADE for target in found)
    assert choice.partitions <= limits.most_partitions
    assert choice.cost <= limits.most_cost + 1e-6
    assert all(len(part.partitions) <= limits.slice for part in choice.slices)
    years = [place.year for _, place in found]
    assert years == sorted(years, reverse=True)
    for year in YEARS:
        assert len({STAGE[name] for name, place in found if place.year == year}) <= 1
    # a killed daemon: what it asked for already runs, and the rest is not cut so that anything comes twice
    done = choice.slices[: data.draw(st.integers(0, len(choice.slices)))]
    ran = {(name, place) for part in done for place in part.partitions for name in part.assets}
    again = night(
        entries,
        busy=busy | ran,
        asked=before | ran,
        costs=costs,
        limits=limits,
        spent=sum(part.cost for part in done),
        spent_partitions=sum(len(part.partitions) for part in done),
    )
    assert not set(asked(again)) & ran


def test_the_night_has_the_date_on_which_it_began() -> None:
    limits = NightlySettings(start_hour=22, hours=8, timezone="Europe/Amsterdam")
    assert night_of(datetime(2026, 11, 20, 20, 59, tzinfo=UTC), limits) is None
    assert night_of(datetime(2026, 11, 20, 21, 0, tzinfo=UTC), limits) == TONIGHT
    assert night_of(datetime(2026, 11, 21, 4, 59, tzinfo=UTC), limits) == TONIGHT
    assert night_of(datetime(2026, 11, 21, 5, 0, tzinfo=UTC), limits) is None
    around = [datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24)]
    assert sum(night_of(when, limits) is not None for when in around) == 8


@pytest.mark.bad_input
def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        NightlySettings(timezone="Mars/Olympus")


def test_costs_come_from_manifests_and_say_where_they_do_not(built_home: object) -> None:
    project = open_project(str(built_home))
    listed = committed(project.store)
    found = cost_estimate.expected(project, listed, 3600.0)  # so that money is processor seconds
    assert found.source == "measured in this project"
    places = [Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")]
    parts = [need_manifest(project.store, "predictions", place) for place in places]
    assert found.money["predictions"] == pytest.approx(sum(part.cpu_seconds for part in parts) / 2)
    some = [item for item in listed if item.dataset != "predictions"]
    guessed = cost_estimate.expected(project, some, 3600.0)
    assert "reference" in guessed.source
    assert "predictions" in guessed.source
    assert guessed.money["predictions"] > 0
