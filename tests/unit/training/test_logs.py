"""What is kept of a training: one log without gaps or doubles, however often it was killed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from groundplan.core.progress import TrainingStep
from groundplan.core.store import Store, open_store
from groundplan.errors import BadConfig
from groundplan.training import logs
from groundplan.training.logs import TrainingLog, check_kinds, read_log

PREFIX = f"{logs.FOLDER}/2024/abc"


def step(number: int, validated: bool = False) -> TrainingStep:
    validation = {"step": float(number if validated else number - 1), "iou": 0.5, "cores": 0.25, "score": 0.375}
    return TrainingStep(
        step=number,
        steps=10,
        seconds=float(number),
        done=number / 10,
        left=1.0,
        rate=0.001,
        loss=2.0 / number,
        validation=validation,
    )


def new_log(store: Store, *kinds: str) -> TrainingLog:
    return TrainingLog(store=store, prefix=PREFIX, kinds=kinds)


def test_a_training_that_was_killed_and_resumed_has_one_log(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    first = new_log(store, "csv")
    for number in (1, 2, 3):
        first(step(number, validated=number == 2))
    first.flush()
    first(step(4))  # killed: neither log nor checkpoint know of it
    lost = new_log(store, "csv")
    for number in (4, 5):
        lost(step(number))
    lost.flush()  # killed between log and checkpoint: the next begins with step 4 again
    last = new_log(store, "csv")
    for number in (4, 5, 6):
        last(step(number))
    last.flush()
    rows = read_log(store, PREFIX)
    assert [row["step"] for row in rows] == list("123456")
    assert [row["iou"] for row in rows] == ["", "0.5", "", "", "", ""]
    assert store.get(f"{PREFIX}/{logs.CSV}").splitlines()[0] == b"step,seconds,rate,loss,iou,cores,score"


def test_without_a_kind_nothing_is_written(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    log = new_log(store)
    log(step(1))
    log.flush()
    assert not store.list("logs")


def test_tensorboard_is_asked_for_before_a_training_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    check_kinds(("csv",))
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(BadConfig, match=r"training\.log: .* need the package tensorboard\. Install groundplan\[tens"):
        check_kinds(("csv", "tensorboard"))


def test_tensorboard_reads_every_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an extra: groundplan[tensorboard]")
    from tensorboard.compat.proto.event_pb2 import Event

    store = open_store("", tmp_path)
    for numbers in ((1, 2, 3), (3, 4)):  # the first was killed when its checkpoint was of step 2
        log = new_log(store, "tensorboard")
        for number in numbers:
            log(step(number, validated=number == 4))
            if number == 2:
                log.flush()
        log.flush()
    told = []
    for found in store.list(PREFIX):
        data, at = store.get(found.key), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            told.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    steps = [event.step for event in told if event.summary.value]
    assert steps == [1, 2, 3, 4]
    assert {value.tag for event in told for value in event.summary.value} >= {"training/loss", "validation/iou"}
