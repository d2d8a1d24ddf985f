"""The plan for a country: its books balance, it agrees with a naive simulation, and it says where costs come from."""

from __future__ import annotations

import heapq
import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from groundplan import pipeline
from groundplan.capacity import analysis, costs
from groundplan.capacity.rates import Views, gpu_rate
from groundplan.capacity.request import Phase, Request
from groundplan.capacity.simulation import STAGES, phase, region_blocks, ring, simulate
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.project import open_project

COSTS = costs.reference()
SMALL = Request(
    area_km2=400.0,
    resolution=0.25,
    regions=9,
    steps=("aerial_tiles",),
    vcpus=12,
    vcpus_per_pod=4,
    interruption_rate=0.0,
    launch_seconds=0.5,
    idle_seconds=40.0,
)
ONE = replace(SMALL, vcpus=4, image_pull_seconds=0.0, idle_seconds=1e9)
WHOLE = Request(area_km2=41543.0, resolution=0.25)

asks = st.builds(
    Request,
    area_km2=st.floats(5, 3000),
    resolution=st.sampled_from([0.08, 0.25, 1.0]),
    block_size=st.sampled_from([2048, 4096, 8192]),
    regions=st.integers(1, 40),
    spread=st.floats(0, 1.5),
    steps=st.sets(st.sampled_from(list(costs.KINDS)), min_size=1).map(tuple),
    vcpus=st.integers(8, 80),
    vcpus_per_pod=st.integers(1, 8),
    interruption_rate=st.floats(0, 3),
    launch_seconds=st.floats(0, 2),
    idle_seconds=st.floats(0, 900),
    max_retries=st.integers(0, 4),
    largest_first=st.booleans(),
    seed=st.integers(0, 1000),
)


# --- the books balance ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(asks)
def test_every_object_is_made_once_and_every_vcpu_second_is_somewhere(ask: Request) -> None:
    try:
        outcome = simulate(ask, COSTS)
    except BadConfig as error:  # nodes that vanish before one object is made: said, and not simulated
        assume("needs" not in str(error))
        raise
    assert outcome.finished
    counts = region_blocks(ask)
    assert counts.sum() == max(1, math.ceil(ask.area_km2 / ask.block_km2 - 1e-9))
    for names, tally in zip(outcome.stages, outcome.stages.values(), strict=True):
        phases = [phase(ask, COSTS, name, int(n)) for n in counts for name in names.split(" + ")]
        assert tally.objects == sum(one.objects for one in phases)
        assert tally.computing == pytest.approx(sum(one.objects * one.cpu_seconds for one in phases))
        assert tally.bytes_written == pytest.approx(sum(one.objects * one.bytes_written for one in phases))
        assert tally.pods == tally.runs + tally.preemptions
        assert tally.gets >= sum(one.objects * one.gets for one in phases)
    total = outcome.total
    assert min(total.computing, total.store, total.starting, total.lost, total.spare) >= 0
    assert total.idle >= -1e-6 * total.billed
    assert total.billed - outcome.spare_after <= total.capacity * (1 + 1e-9)
    assert sum(share.share for share in analysis.shares(outcome)) == pytest.approx(1)
    assert all(bound.hours <= total.seconds / 3600 * (1 + 1e-9) for bound in analysis.bounds(ask, outcome)[:1])


def test_one_pod_that_nobody_kills_takes_the_exact_sum() -> None:
    """One after the other: launch of the first, then each region's start and its waves."""
    outcome = simulate(ONE, COSTS)
    expected = 0.0
    for n in region_blocks(ONE):
        one = phase(ONE, COSTS, "aerial_tiles", int(n))
        expected += ONE.start_seconds + math.ceil(n / 4) * (one.cpu_seconds + one.store_seconds)
    assert outcome.seconds == pytest.approx(expected)
    assert outcome.total.nodes == 1
    assert (outcome.total.preemptions, outcome.total.lost) == (0, 0)


def test_a_step_that_uses_all_processors_makes_one_block_at_a_time() -> None:
    one = phase(SMALL, COSTS, "predictions", 10)
    assert (one.lanes, one.cores) == (1, 4)
    assert one.wall == pytest.approx(one.cpu_seconds / 4 + one.store_seconds)


@settings(max_examples=40, deadline=None)
@given(asks, st.integers(1, 200))
def test_more_vcpus_are_not_slower(ask: Request, more: int) -> None:
    """But for the image that every fresh node pulls. (With deaths, luck decides.)"""
    calm = replace(ask, interruption_rate=0.0)
    few, many = simulate(calm, COSTS), simulate(replace(calm, vcpus=calm.vcpus + more), COSTS)
    stages = len(few.stages)
    slack = stages * (calm.image_pull_seconds + calm.start_seconds)
    assert many.seconds <= few.seconds + slack + 1e-6
    assert many.seconds >= many.longest * (1 - 1e-9)


def test_without_end_of_vcpus_the_longest_partition_is_left() -> None:
    endless = replace(SMALL, vcpus=4 * 9, launch_seconds=0.0, image_pull_seconds=0.0)
    outcome = simulate(endless, COSTS)
    assert outcome.seconds == pytest.approx(outcome.longest)
    assert analysis.bounds(endless, outcome)[0].name == "longest partition"
    assert "longest partition binds" in analysis.verdict(endless, COSTS, outcome)


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    rough = replace(SMALL, interruption_rate=5.0)
    assert simulate(rough, COSTS) == simulate(rough, COSTS)
    assert simulate(rough, COSTS) != simulate(replace(rough, seed=8), COSTS)


# --- what a death costs -----------------------------------------------------------------------------------------------


def test_a_death_loses_the_blocks_in_hand_and_no_other() -> None:
    """At most as many as the pod has hands, none of them for longer than a block takes."""
    rough = replace(SMALL, area_km2=4000.0, interruption_rate=20.0)
    total = simulate(rough, COSTS).total
    wall = phase(rough, COSTS, "aerial_tiles", 100).wall
    assert total.preemptions > 20
    assert 0 < total.lost_objects <= total.preemptions * 4
    assert total.lost <= total.preemptions * 4 * wall
    assert total.objects == region_blocks(rough).sum()


def test_wasted_work_rises_with_the_rate_and_is_far_less_than_without_blocks() -> None:
    big = replace(WHOLE, area_km2=8000.0, regions=40)
    found = [simulate(replace(big, interruption_rate=rate), COSTS) for rate in (0.0, 0.05, 0.5, 5.0)]
    shares = [analysis.wasted(outcome.total) for outcome in found]
    assert shares == sorted(shares)
    assert (shares[0], found[0].total.preemptions) == (0, 0)
    whole = simulate(replace(big, interruption_rate=0.5), COSTS, keep=False)
    assert analysis.wasted(whole.total) > 20 * shares[2]
    assert whole.seconds > found[2].seconds


def test_work_that_is_lost_as_a_whole_may_never_end_and_that_is_said() -> None:
    hard = replace(WHOLE, area_km2=4000.0, regions=2, interruption_rate=20.0, vcpus=16, steps=("predictions",))
    assert simulate(hard, COSTS).finished
    assert not simulate(hard, COSTS, keep=False).finished


def test_after_the_last_retry_a_partition_waits_to_be_asked_for_again() -> None:
    """Three deaths with one retry allowed: the second death exhausts it, the third does not yet again."""
    ask = replace(ONE, regions=1, area_km2=8.0, max_retries=1, retry_seconds=80.0, request_again_seconds=1000.0)
    outcome = simulate(ask, COSTS, lifetimes=iter([1.0, 2.0, 3.0, math.inf]))
    calm = simulate(ask, COSTS)
    assert (outcome.total.preemptions, outcome.total.asked_again, outcome.total.lost_objects) == (3, 1, 0)
    assert outcome.seconds - calm.seconds == pytest.approx(1 + 80 + 2 + 1000 + 3 + 80)


# --- the same as a naive simulation, block by block -------------------------------------------------------------------


def naive(ask: Request, work: list[Phase], lifetimes: Iterator[float]) -> tuple[float, float, int, int]:
    """Seconds, lost processor seconds, blocks lost in hand and deaths, by stepping through every single block.

    One step, no idle node given back, runs in their order; written without a look at groundplan/capacity/cluster.py's
    waves.
    """
    left = [one.objects for one in work]
    waiting = [(index * ask.launch_seconds, index) for index in range(len(work))]
    free = [(0.0, node, True) for node in range(ask.vcpus // ask.vcpus_per_pod)]  # since, name, needs an image
    tries = [0] * len(work)
    events: list[tuple[float, int, tuple[float, int, bool], float]] = []
    end = lost = 0.0
    lost_blocks = deaths = 0
    while waiting or events:
        waiting.sort()
        if waiting and free and (not events or max(waiting[0][0], end) < events[0][0]):
            ready, index = waiting.pop(0)
            begin = max(ready, end)
            free.sort(key=lambda node: (node[2], -node[0]))  # a warm node first, the last one used
            _, name, fresh = free.pop(0)
            clock = begin + ask.start_seconds + (ask.image_pull_seconds if fresh else 0.0)
            death = begin + next(lifetimes)
            hands = [clock] * work[index].lanes
            in_hand = []
            while left[index] + len(in_hand):
                heapq.heapify(hands)
                start = heapq.heappop(hands)
                done = start + work[index].wall
                if start >= death or not left[index]:
                    break
                left[index] -= 1
                heapq.heappush(hands, done)
                if done > death:
                    in_hand.append(death - start)
                else:
                    clock = max(clock, done)
            left[index] += len(in_hand)
            dead = left[index] > 0
            lost += sum(in_hand) * work[index].cores
            lost_blocks += len(in_hand)
            deaths += dead
            heapq.heappush(events, (death if dead else clock, index, (0.0, name, dead), 0.0))
            end = begin
            continue
        end, index, (_, name, dead), _ = heapq.heappop(events)
        free.append((end, name, dead))
        if dead:
            tries[index] += 1
            again = tries[index] % (ask.max_retries + 1) == 0
            waiting.append((end + (ask.request_again_seconds if again else ask.retry_seconds), index))
    return end, lost, lost_blocks, deaths


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    regions=st.integers(1, 12),
    pods=st.integers(1, 4),
    step=st.sampled_from(["aerial_tiles", "predictions", "labels"]),
    lives=st.lists(st.floats(1, 400), min_size=0, max_size=25),
)
def test_it_agrees_with_a_naive_simulation_block_by_block(
    seed: int, regions: int, pods: int, step: str, lives: list[float]
) -> None:
    ask = replace(
        SMALL,
        seed=seed,
        regions=regions,
        vcpus=4 * pods,
        steps=(step,),
        idle_seconds=1e9,
        launch_seconds=0.37,
        image_pull_seconds=31.0,
        interruption_rate=1.0,
        max_retries=2,
    )

    def lifetimes() -> Iterator[float]:
        yield from lives
        yield from repeat(math.inf)

    outcome = simulate(ask, COSTS, lifetimes=lifetimes())
    work = [phase(ask, COSTS, step, int(n)) for n in region_blocks(ask)]
    seconds, lost, lost_blocks, deaths = naive(ask, work, lifetimes())
    total = outcome.total
    assert total.seconds == pytest.approx(seconds)
    assert total.lost == pytest.approx(lost, abs=1e-6)
    assert (total.lost_objects, total.preemptions) == (lost_blocks, deaths)


# --- block sizes, requests, bills -------------------------------------------------------------------------------------


def test_small_blocks_cost_requests_and_large_blocks_cost_lost_work_and_rings() -> None:
    rough = replace(WHOLE, interruption_rate=0.5)
    small, middle, large = analysis.over_block_sizes(rough, COSTS, (2048, 8192, 16384))
    assert small.requests > 2 * middle.requests > 2 * large.requests
    assert small.wasted < middle.wasted < large.wasted
    assert middle.euro < small.euro, "requests"
    assert middle.hours < large.hours, "processors that wait for the last block, and rings"
    assert ring(1) == 9
    assert ring(16) == 36


def test_a_step_reads_what_the_project_really_reads(built_home: Path) -> None:
    """Objects that predictions and outlines name as inputs: at most the block and its eight neighbours, as planned."""
    project = open_project(built_home)
    for name in ("predictions", "building_outlines"):
        kind = costs.KINDS[name]
        for partition in pipeline.partitions_of(project, name):
            for made in need_manifest(project.store, name, partition).objects.values():
                assert sum(key.startswith(kind.reads) for key in made.inputs) <= (9 if kind.around else 1)
    assert {name for name, kind in costs.KINDS.items() if kind.alone} == {
        name for name in costs.KINDS if pipeline.STEPS[name].alone
    }
    assert [name for names in STAGES for name in names] == list(costs.KINDS)


def test_a_bill_is_its_hours_and_its_requests() -> None:
    outcome = simulate(SMALL, COSTS)
    money = analysis.bill(SMALL, outcome)
    assert money.machines == pytest.approx(outcome.total.billed / 3600 * 0.015)
    free_of_charge = replace(SMALL, spot_price=0, request_price=0, read_price=0, storage_price=0)
    free = analysis.bill(free_of_charge, simulate(free_of_charge, COSTS))
    assert (free.once, free.storage_month) == (0, 0)
    assert costs.uploads(5 * 2**20) == 1
    assert costs.uploads(5 * 2**20 + 1) == 4  # begin, two parts, complete


def test_it_is_quick_enough_to_ask_twice() -> None:
    """A country of 1,350 regions, without a clock: pods that were simulated, which is what time goes by."""
    outcome = simulate(replace(WHOLE, resolution=0.08), COSTS.at(0.08))
    assert outcome.blocks == 96_725
    assert outcome.total.pods < 6_000


# --- processors or GPUs -----------------------------------------------------------------------------------------------


def test_machines_with_a_gpu_take_the_predictions_alone_and_are_billed_by_the_machine() -> None:
    ask = replace(SMALL, steps=("aerial_tiles", "predictions"), gpus=2, image_pull_seconds=0.0)
    outcome = simulate(ask, replace(COSTS, views=1))
    assert outcome.machines["aerial_tiles"].slots == 3
    assert (outcome.machines["predictions"].slots, outcome.machines["predictions"].width) == (2, 16)
    computing = outcome.stages["predictions"].computing / 16
    assert computing == pytest.approx(outcome.blocks * ask.megapixels / 381.0)
    hours = {name: tally.billed / 3600 for name, tally in outcome.stages.items()}
    money = hours["aerial_tiles"] * 0.015 + hours["predictions"] / 16 * 2.5
    assert analysis.bill(ask, outcome).machines == pytest.approx(money)
    assert analysis.bounds(ask, outcome)[0].hours <= outcome.seconds / 3600


def test_on_a_gpu_the_network_binds_where_it_sees_more_pixels_or_views() -> None:
    assert gpu_rate(0.15, 0.20, 1) == 381.0
    assert gpu_rate(0.15, 0.20, 4) == pytest.approx(797 / 4)
    assert gpu_rate(0.15, 0.10, 1) == pytest.approx(797 / 4)
    assert gpu_rate(0.08, 0.0, 1) == 381.0, "decoding and coding are per pixel of the grid"


@pytest.mark.parametrize(("price", "first"), [(0.001, "1 with a GPU"), (50.0, "64 vCPUs")])
def test_the_cheaper_offer_comes_first(price: float, first: str) -> None:
    ask = replace(WHOLE, area_km2=12000.0, regions=100, gpu_price=price)
    found = analysis.offers(ask, COSTS, simulate(ask, COSTS), 1)
    assert [offer.euro for offer in found] == sorted(offer.euro for offer in found)
    assert found[0].name == first
    assert {"benchmarks.gpu", "benchmarks.prediction"} == {
        name for name in ("benchmarks.gpu", "benchmarks.prediction") for offer in found if name in offer.source
    }
    assert not analysis.offers(SMALL, COSTS, simulate(SMALL, COSTS), 1), "nothing is predicted"


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_are_read_from_a_real_project(built_home: Path) -> None:
    project = open_project(built_home)
    found = costs.measured(project)
    assert found.label.startswith("measured in home: ")
    assert found.resolution == project.grid.resolution
    reference = costs.reference()
    for name in costs.KINDS:
        assert found.steps[name].source.startswith("measured"), name
        assert found.steps[name].cpu_seconds > 0
        assert found.steps[name].cpu_seconds != reference.steps[name].cpu_seconds
    manifests = [need_manifest(project.store, "aerial_tiles", one) for one in pipeline.partitions_of(project, "sheets")]
    made = [made for manifest in manifests for made in manifest.objects.values()]
    mean = sum(one.cpu_seconds for one in made) / len(made) / (project.grid.block_size**2 / 1e6)
    assert found.steps["aerial_tiles"].cpu_seconds >= mean * 0.5
    assert simulate(SMALL, found.at(0.25)).total.computing != simulate(SMALL, reference).total.computing


@pytest.mark.parametrize(
    ("precision", "views", "rate"), [("f32", 2, 0.384), ("bf16", 1, 1.57), ("auto", "unsure", 2.02)]
)
def test_the_shipped_cost_of_predictions_is_that_of_the_settings(precision: str, views: Views, rate: float) -> None:
    """At the resolution of the measurement it is the measured rate."""
    found = costs.reference(precision, views).at(0.25)
    assert found.steps["predictions"].cpu_seconds == pytest.approx(1 / rate)


def test_views_that_nobody_measured_cost_as_many_times_one() -> None:
    assert costs.reference("f32", 8).steps["predictions"].cpu_seconds == pytest.approx(
        8 * costs.reference("f32", 1).steps["predictions"].cpu_seconds
    )


def test_the_network_sees_coarser_ground_so_finer_grids_cost_it_less_per_pixel() -> None:
    fine = COSTS.at(0.08)
    assert fine.steps["predictions"].cpu_seconds < 0.5 * COSTS.steps["predictions"].cpu_seconds
    assert "x 0." in fine.steps["predictions"].source
    assert fine.steps["aerial_tiles"] == COSTS.steps["aerial_tiles"]
    assert fine.at(0.25).steps["predictions"].cpu_seconds == pytest.approx(COSTS.steps["predictions"].cpu_seconds)


def test_a_network_that_is_set_to_see_finer_pixels_costs_by_their_number() -> None:
    usual, set_finer = COSTS.at(0.15), COSTS.at(0.15, network=0.10)
    dearer = set_finer.steps["predictions"].cpu_seconds / usual.steps["predictions"].cpu_seconds
    assert 3 < dearer < (0.20 / 0.10) ** 2, "what is not the network's own work stays"
    assert set_finer.at(0.15).steps["predictions"].cpu_seconds == pytest.approx(usual.steps["predictions"].cpu_seconds)


# --- the command ------------------------------------------------------------------------------------------------------


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "orchestration.cli.main", "plan", *words]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


TINY = ("--area-km2", "500", "--resolution", "0.25", "--regions", "12", "--vcpus", "16")


def test_the_command_prints_json_that_adds_up_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDPLAN_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    done = command(tmp_path, *TINY, "--json", "--plot", "plots/plan.png", "--steps", "tiles, predictions")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["costs"]["label"] == costs.REFERENCE_NAME
    assert list(said["steps"]) == ["aerial_tiles", "predictions"]
    result = said["result"]
    assert result["euro"] == pytest.approx(result["machines"] + result["requests"])
    assert result["hours"] == pytest.approx(sum(stage["seconds"] for stage in said["steps"].values()) / 3600)
    assert sum(share["share"] for share in said["shares"]) == pytest.approx(1)
    assert [offer["euro"] for offer in said["offers"]] == sorted(offer["euro"] for offer in said["offers"])
    assert [point["value"] for point in said["over_block_sizes"]] == [2048, 4096, 8192, 16384]
    assert 16 in [point["value"] for point in said["over_vcpus"]]
    assert said["without_blocks"]["hours"] >= result["hours"] * 0.9
    data = (tmp_path / "plots/plan.png").read_bytes()
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert len(data) < 120_000


def test_the_command_says_whose_costs_it_takes_and_what_binds(
    tmp_path: Path, built_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROUNDPLAN_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    done = command(tmp_path, *TINY, "--home", str(built_home))
    assert done.returncode == 0, done.stderr
    words = (
        "measured in home: ",
        "vCPU hours",
        "euro",
        "wasted work",
        "without blocks",
        "what binds",
        " bind",
        "█",
        "with a GPU",
        "the cheaper first",
    )
    for word in words:
        assert word in done.stdout, word


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"area_km2": -1.0}, "--area-km2"),
        ({"area_km2": math.nan}, "--area-km2"),
        ({"resolution": 0.0}, "--resolution"),
        ({"resolution": 250.0}, "at most 100"),
        ({"block_size": 1000}, "multiple of 256"),
        ({"regions": 0}, "--regions"),
        ({"vcpus": 4, "vcpus_per_pod": 8}, "at least one pod of 8"),
        ({"interruption_rate": -0.1}, "--interruption-rate"),
        ({"spot_price": math.inf}, "--spot-price"),
        ({"steps": ("aerial_tiles", "magic")}, "magic"),
        ({"steps": ()}, "at least one step"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(options: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said) as refused:
        replace(WHOLE, **options)
    assert refused.value.remedy


@pytest.mark.bad_input
def test_a_rate_at_which_nothing_can_be_made_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"needs .* to start and make one object"):
        simulate(replace(WHOLE, interruption_rate=200.0), COSTS)


@pytest.mark.bad_input
def test_a_project_without_costs_and_a_picture_that_is_none_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_project: object
) -> None:
    from orchestration.cli.plan import _costs, plan

    empty = make_project(tmp_path / "empty")  # type: ignore[operator]
    with pytest.raises(BadConfig, match="no manifest says what a block cost"):
        _costs(empty.home)
    monkeypatch.chdir(empty.home)
    assert _costs(None).label == costs.REFERENCE_NAME
    with pytest.raises(BadConfig, match=r"\.png"):
        plan(100.0, 0.25, plot=Path("plan.jpg"))
    with pytest.raises(BadConfig, match="there is no step 'magic'"):
        plan(100.0, 0.25, steps="tiles,magic")
    assert Partition(2024, "a") < Partition(2024, "b")


# --- small regions that share a run -----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 60), st.floats(1.0, 60.0), st.sampled_from([0.0, 3.0, 10.0]))
def test_runs_that_regions_share_do_the_same_work_with_fewer_launches(
    regions: int, start: float, launches: float
) -> None:
    ask = replace(SMALL, regions=regions, start_seconds=start)
    each, together = simulate(ask, COSTS), simulate(replace(ask, stretch_launches=launches), COSTS)
    assert together.total.objects == each.total.objects
    assert together.total.computing == pytest.approx(each.total.computing)
    assert together.total.runs <= each.total.runs
    if not launches:
        assert together == each
    made = analysis.shared(ask, COSTS, each, launches, 1)
    assert made.saved == each.total.runs - together.total.runs
    assert made.gpu_hours is None, "no predictions are asked for"


def test_large_regions_keep_a_run_each_and_small_ones_do_not() -> None:
    country = replace(SMALL, area_km2=4000.0, regions=400, start_seconds=10.0, stretch_launches=10.0)
    small = simulate(country, COSTS).total.runs
    assert small < 0.6 * len(region_blocks(country))
    assert simulate(replace(country, start_seconds=0.5), COSTS).total.runs == len(region_blocks(country))
