"""Learning: what a kill, an odd weights file, other bands and unknown ground must not do to it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from groundplan.errors import MissingInput, ModelMismatch, Stopped
from groundplan.labels.classes import BACKGROUND, BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.polygons.instances import Thresholds
from groundplan.training import augment, checkpoint, loop, network, schedule, thresholds
from groundplan.training.augment import CropSource
from groundplan.training.scenes import Scene
from groundplan.training.settings import TrainSettings

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow  # each learns, some twice


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    """Sums depend on the number of threads, and so would what sixteen steps teach; and a resumed training must give the
    same bytes with more than the one thread that other tests have."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


TINY = TrainSettings(encoder_weights="none", steps=3, minutes=60, batch=2, crop=64, validations=2, average=0.9)


def town(seed: int = 0, side: int = 160, bands: int = 3) -> Scene:
    """Bright roofs on dark ground, each with its inner edge."""
    rng = np.random.default_rng(seed)
    image = rng.integers(30, 60, (bands, side, side), dtype=np.uint8)
    label = np.zeros((side, side), np.uint8)
    for top in range(10, side - 40, 50):
        for left in range(10, side - 40, 50):
            label[top : top + 32, left : left + 32] = 2
            label[top + 3 : top + 29, left + 3 : left + 29] = 1
    image[:, label > 0] += 150
    return Scene(image, label)


class Shelf:
    """Where checkpoints are kept."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.saves = 0

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data, self.saves = data, self.saves + 1


def stop_at(calls: int) -> Callable[[], None]:
    """A check that raises Stopped at its n-th call."""
    left = iter(range(calls - 1))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def run(settings: TrainSettings, shelf: Shelf | None = None, **more: object) -> loop.Trained:
    shelf = shelf or Shelf()
    validation = more.pop("validation", [town(9)])
    return loop.train([town(1), town(2)], validation, settings, load=shelf.load, save=shelf.save, **more)  # type: ignore[arg-type]


# --- kills and budgets ------------------------------------------------------------------------------------------------


@pytest.mark.kill
def test_a_resumed_training_ends_in_the_same_weights() -> None:
    undisturbed = run(TINY)
    shelf = Shelf()
    with pytest.raises(Stopped):
        run(TINY, shelf, check=stop_at(3))  # before the third step, after the first validation
    steps: list[int] = []
    resumed = run(TINY, shelf, progress=lambda figures: steps.append(figures.step))
    assert steps == [3]
    assert resumed.state.keys() == undisturbed.state.keys()
    assert all(torch.equal(resumed.state[k], undisturbed.state[k]) for k in resumed.state)
    figures = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.history] for t in (resumed, undisturbed)]
    assert figures[0] == figures[1]


def test_a_kill_without_warning_costs_no_more_than_the_time_between_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    shelf = Shelf()
    run(TINY, shelf)
    assert shelf.saves == TINY.steps + 1


def test_a_resumed_training_does_not_get_its_budget_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**6, 10))  # every look at the clock takes ten seconds
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    settings, shelf = replace(TINY, steps=None, minutes=2.0), Shelf()
    whole = run(settings, validation=[])
    with pytest.raises(Stopped):
        run(settings, shelf, validation=[], check=stop_at(4))
    start = next(now)
    resumed = run(settings, shelf, validation=[])
    assert whole.steps > 4
    assert abs(resumed.steps - whole.steps) <= 1
    assert 120 <= resumed.seconds <= 150
    assert next(now) - start <= 120  # a new budget would take 160


def clock(monkeypatch: pytest.MonkeyPatch, first: float, later: float) -> None:
    """A clock that is looked at for the first times after `first` seconds each, then after `later`."""
    jumps = itertools.chain([first] * 4, itertools.repeat(later))
    now = itertools.accumulate(jumps)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(now)))


def test_a_slow_beginning_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate follows the steps: a machine that is busy for a while learns the same."""
    settings = replace(TINY, steps=6, minutes=10.0)
    clock(monkeypatch, 0.1, 0.1)
    quiet = run(settings, validation=[])
    clock(monkeypatch, 60.0, 5.0)
    busy = run(settings, validation=[])
    assert (quiet.steps, busy.steps) == (6, 6)
    assert busy.seconds > quiet.seconds + 60
    assert all(torch.equal(quiet.state[name], busy.state[name]) for name in quiet.state)


def test_a_machine_too_slow_for_its_steps_sees_the_clock_take_over() -> None:
    budget = replace(TINY, steps=100, minutes=1.0)
    late, rates = None, []
    for step in range(1, 100):
        seconds = 1.7 * step
        late = late or schedule.takeover(budget, step, seconds)
        used = schedule.fraction(budget, step, seconds, late)
        rates.append(schedule.learning_rate(budget, used))
        if used >= 1:
            break
    assert 55 <= seconds <= 62
    assert rates[-1] < 0.01 * budget.learning_rate
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert schedule.takeover(budget, 76, 50.0) is None  # a little behind is no reason
    assert schedule.takeover(budget, 10, 40.0) is None  # nor is a slow beginning


def scored(monkeypatch: pytest.MonkeyPatch, *scores: float) -> loop.Trained:
    """A training whose validations say what is given; the last one again and again."""
    said = itertools.chain(scores, itertools.repeat(scores[-1]))
    monkeypatch.setattr(loop, "validate", lambda *_: {"iou": 0.5, "cores": 0.5, "score": next(said)})
    return run(replace(TINY, steps=8, validations=8, patience=2))


def test_training_ends_early_when_it_gets_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [row["step"] for row in scored(monkeypatch, 0.5, 0.6, 0.5).history] == [1, 2, 3, 4]
    # a plateau is no reason: what the falling rate still brings does not show in so few buildings
    assert len(scored(monkeypatch, 0.5, 0.6, 0.59).history) == 8


def test_the_end_is_kept_unless_it_is_clearly_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(one: loop.Trained, other: loop.Trained) -> bool:
        return all(torch.equal(one.state[name], other.state[name]) for name in one.state)

    plateau = scored(monkeypatch, 0.5, 0.6, 0.59)
    assert same(plateau, scored(monkeypatch, 0.5, 0.5, 0.5))
    fallen = scored(monkeypatch, 0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.5)  # never twice in a row, so it goes on to the end
    assert len(fallen.history) == 8
    assert not same(fallen, plateau)


@pytest.mark.bad_input
def test_a_checkpoint_of_other_settings_is_refused() -> None:
    shelf = Shelf()
    with pytest.raises(Stopped):
        run(TINY, shelf, check=stop_at(2))
    with pytest.raises(ModelMismatch, match=r"learning_rate was 0.001 and is 0.5"):
        run(replace(TINY, learning_rate=0.5), shelf)
    assert shelf.data is not None
    shelf.data = shelf.data[:1000]
    with pytest.raises(ModelMismatch, match="cannot be read"):
        run(TINY, shelf)


def test_a_machine_too_slow_for_its_steps_still_comes_to_the_end_of_its_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter(range(0, 10**6, 10))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    trained = run(replace(TINY, steps=1000, minutes=2.0, validations=4))
    assert trained.steps < 20
    assert trained.history[-1]["rate"] == pytest.approx(0, abs=1e-5)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [loop.learning_rate(TINY, f) for f in (0, 0.05, 0.1, 0.55, 1)]
    assert rates == pytest.approx([1e-5, 5e-4, 1e-3, 5e-4, 0], abs=1e-12)


# --- what is learned --------------------------------------------------------------------------------------------------


def test_it_learns_bright_roofs() -> None:
    settings = replace(TINY, steps=16, learning_rate=3e-3, grid_resolution=0.2, resolution=0.2, batch=3, average=0.7)
    trained = run(settings)
    assert trained.history[-1]["iou"] > 0.7
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_unknown_ground_does_not_influence_the_loss() -> None:
    logits = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    label = torch.randint(0, 4, (2, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    label[:, 10:20] = IGNORE
    other = logits.clone()
    other[:, :, 10:20] = 50.0
    assert torch.equal(loop.loss_of(logits, label, TINY), loop.loss_of(other, label, TINY))
    other[:, :, 5] = 50.0
    assert not torch.equal(loop.loss_of(logits, label, TINY), loop.loss_of(other, label, TINY))


def test_gaps_and_inner_edges_weigh_more_than_plain_ground() -> None:
    logits = torch.zeros(1, 2, 32, 32)
    wrong = {}
    for kind in (BACKGROUND, GAP, BUILDING, INNER_EDGE):
        label = torch.full((1, 32, 32), BACKGROUND, dtype=torch.uint8)
        label[0, :16] = BUILDING
        label[0, 5 if kind in (BUILDING, INNER_EDGE) else 20] = kind
        off = logits.clone().requires_grad_()
        loop.loss_of(off, label, TINY).backward()
        assert off.grad is not None
        wrong[kind] = float(off.grad[0, 0, 5 if kind in (BUILDING, INNER_EDGE) else 20].abs().sum())
    assert wrong[GAP] > 3 * wrong[BACKGROUND]
    assert wrong[INNER_EDGE] > 1.4 * wrong[BUILDING]


def test_a_training_goes_on_from_a_given_state_as_it_is(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {key: value.half() if value.is_floating_point() else value for key, value in run(TINY).state.items()}
    save_file(state, tmp_path / "start.safetensors")
    given = replace(TINY, start=str(tmp_path / "start.safetensors"), encoder_weights="imagenet")
    begun = loop.initial_state(given, np.full((2, 3, 64, 64), 90, np.uint8)).network
    for key, value in begun.state_dict().items():
        assert torch.equal(value, state[key].float() if value.is_floating_point() else state[key]), key
    assert not begun[0].weight.requires_grad  # type: ignore[index, union-attr]
    assert begun.training
    learned = run(given).state
    assert not torch.equal(learned["1.segmentation_head.0.weight"], state["1.segmentation_head.0.weight"].float())
    with pytest.raises(ModelMismatch, match="does not fit resnet18"):
        loop.initial_state(replace(given, encoder="resnet18"), None)


def test_a_checkpoint_from_before_a_setting_was_there_is_taken_up() -> None:
    import io

    shelf = Shelf()
    run(TINY, shelf)
    assert shelf.data is not None
    content = torch.load(io.BytesIO(shelf.data), weights_only=True)
    for name in ("start", "gap_weight", "inner_edge_weight", "edge_weight"):
        del content["settings"][name]
    older = io.BytesIO()
    torch.save(content, older)
    checkpoint.restore(loop.initial_state(TINY, None), TINY, older.getvalue())
    with pytest.raises(ModelMismatch, match=r"gap_weight was 5.0 and is 9.0"):
        checkpoint.restore(loop.initial_state(TINY, None), replace(TINY, gap_weight=9.0), older.getvalue())


@pytest.mark.bad_input
def test_scenes_without_known_ground_are_refused() -> None:
    empty = Scene(np.zeros((3, 64, 64), np.uint8), np.full((64, 64), IGNORE, np.uint8))
    with pytest.raises(MissingInput):
        loop.train([empty], [], TINY, load=lambda: None, save=lambda data: None)


# --- crops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [0.2, 0.15, 0.5])
def test_a_crop_keeps_image_and_label_together(resolution: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_recolor", lambda image, rng: image)
    settings = replace(TINY, resolution=resolution, batch=16)
    images, labels = augment.make_batch([CropSource.of(town(side=320), settings)], settings, 0)
    known = labels != IGNORE
    bright = images[:, 0] > 120
    agree = (bright == (labels > 0))[known].mean()
    assert 0.05 < bright[known].mean() < 0.8
    assert agree > (0.98 if resolution < 0.3 else 0.95)


def test_ground_outside_a_scene_is_unknown_and_black() -> None:
    settings = replace(TINY, batch=16)
    images, labels = augment.make_batch([CropSource.of(town(side=96), settings)], settings, 0)
    outside = labels == IGNORE
    assert 0.05 < outside.mean() < 0.9
    deep = np.stack([_shrunk(part) for part in outside])
    assert not images.transpose(0, 2, 3, 1)[deep].any()


def _shrunk(mask: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def test_a_step_has_its_own_crops_and_always_the_same() -> None:
    sources = [CropSource.of(town(), TINY)]
    first, again, next_ = (augment.make_batch(sources, TINY, step)[0] for step in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next_)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file as they travel: half precision, with a classifier, saying how its input is scaled."""
    from safetensors.torch import save_file

    encoder = network._unet("mobilenet_v2", None).encoder
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in encoder.state_dict().items()}
    tensors["classifier.1.weight"] = torch.zeros(10, 1280)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    save_file(tensors, path, {"input": "RGB, x/127.5-1"})
    return path


def test_weights_from_a_file_are_in_the_network_with_their_normalisation(weights: Path) -> None:
    from safetensors.torch import load_file

    built = network.build(replace(TINY, encoder_weights=str(weights)))
    state = built[1].encoder.state_dict()
    wanted = load_file(weights)
    assert all(torch.equal(state[k], wanted[k].float()) for k in state if "num_batches" not in k)
    seen = built[0](torch.tensor([0.0, 127.5, 255.0]).reshape(1, 3, 1, 1)).flatten().tolist()
    assert seen == pytest.approx([-1, 0, 1], abs=1e-6)


@pytest.mark.bad_input
def test_weights_of_another_encoder_are_refused_by_name(weights: Path) -> None:
    with pytest.raises(ModelMismatch, match=re.escape(str(weights))) as caught:
        network.build(replace(TINY, encoder="resnet18", encoder_weights=str(weights)))
    assert "missing" in caught.value.reason
    assert "resnet18" in caught.value.reason


@pytest.mark.bad_input
def test_bent_missing_and_broken_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors["features.0.0.weight"] = torch.zeros(32, 4, 3, 3)
    save_file(tensors, tmp_path / "bent.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(weights.read_bytes()[:5000])
    for name, reason in (("bent", r"\(32, 4, 3, 3\)"), ("broken", "not a readable"), ("absent", "no such")):
        with pytest.raises(ModelMismatch, match=reason):
            network.build(replace(TINY, encoder_weights=str(tmp_path / f"{name}.safetensors")))
    with pytest.raises(ModelMismatch, match="cannot build"):
        network.build(replace(TINY, encoder="resnet19"))


def test_other_bands_keep_the_response_of_the_given_weights(weights: Path) -> None:
    gray = torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    found = {}
    for bands in (1, 3, 5):
        built = network.build(replace(TINY, encoder_weights=str(weights), bands=bands)).eval()
        with torch.no_grad():
            found[bands] = built[1].encoder(built[0](gray.expand(1, bands, 64, 64)))[1]
    assert torch.allclose(found[1], found[3], atol=1e-4)
    assert found[5].shape == found[3].shape
    assert float((found[5] - found[3]).abs().mean() / found[3].abs().mean()) < 1.0


def test_training_takes_the_bands_of_the_imagery() -> None:
    settings = replace(TINY, bands=5, steps=1)
    trained = loop.train([town(bands=5)], [], settings, load=lambda: None, save=lambda data: None)
    assert trained.state["0.weight"].shape == (5, 1, 1, 1)
    with pytest.raises(ModelMismatch, match="3 bands"):
        run(settings)


def test_unfolded_norms_leave_the_function_as_it_was() -> None:
    built = network.build(TINY).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        before = built(images)
        loop._unfold_norms(built, images)
        after = built.eval()(images)
        norm = built[1].encoder.features[0][1]
    assert torch.allclose(before, after, atol=1e-4)
    assert float((norm.running_var - 1).abs().max()) > 0.01


def test_sides_fit_both_resolutions() -> None:
    for grid, seen in ((0.15, 0.2), (0.25, 0.25), (0.08, 0.2), (0.25, 0.2), (0.1493, 0.2)):
        scale = network.scale_of(replace(TINY, grid_resolution=grid, resolution=seen))
        assert scale.step * scale.ratio % 32 == 0
        assert scale.inside(scale.step) == scale.step * scale.ratio
        assert scale.step % scale.pool == 0
        assert abs(float(scale.ratio) * seen / grid - 1) < 0.07


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_a_small_sample_does_not_move_a_threshold_and_a_large_one_does() -> None:
    values, scores = (0.2, 0.3, 0.4, 0.5), (0.60, 0.62, 0.63, 0.64)
    assert thresholds.stable_choice(values, scores, 0.3, slack=0.05) == 0.3
    assert thresholds.stable_choice(values, scores, 0.3, slack=0.001) == 0.5


def test_touching_buildings_of_a_label_are_told_apart() -> None:
    label = np.zeros((20, 40), np.uint8)
    label[2:18, 2:38] = 2
    label[4:16, 4:18] = label[4:16, 22:36] = 1
    label[19, 5:30] = 2  # too narrow to have an inside
    found = thresholds.true_buildings(label)
    assert np.array_equal(found > 0, label > 0)
    assert len(np.unique(found)) == 4
    assert found[10, 18] == found[10, 10] != found[10, 30] == found[10, 21]


def test_thresholds_are_chosen_where_the_network_is_right() -> None:
    label = np.pad(town(side=160).label, 4, constant_values=IGNORE)
    grounds = []
    for left in (0.0, 2000.0):
        building = np.where((label == 1) | (label == 2), 140, 110).astype(np.uint8)  # right only above 0.43..0.55
        probability = np.stack([building, np.where(label == 2, 120, 10).astype(np.uint8)])
        grounds.append(thresholds.scored_scene(probability, label, 0.2, left))
    chosen = thresholds.best_thresholds(grounds, 0.2)
    assert 0.43 < chosen.mask < 0.55
    assert thresholds.figures(grounds, chosen, 0.2)["object_f1"] == 1
    assert thresholds.best_thresholds([], 0.2) == Thresholds()
    assert thresholds.figures([], chosen, 0.2) == {}


@pytest.mark.bad_input
def test_scenes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        Scene(np.zeros((3, 8, 8), np.uint8), np.zeros((8, 9), np.uint8))
    with pytest.raises(ValueError, match="no budget"):
        replace(TINY, minutes=0)
