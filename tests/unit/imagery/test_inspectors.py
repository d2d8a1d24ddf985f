"""Many small sheets are looked at in several processes: the same catalogue, byte for byte, and nothing goes on after.

Right values: the catalogue that one process makes.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import MakeProject
from laid_sheets import HERE, ground, lay, place

from groundplan.core.materialize import Cancellation
from groundplan.errors import Stopped, StoreFailed
from groundplan.imagery import catalog, inspectors
from groundplan.imagery.landing import landing_prefix
from groundplan.project import Project

pytestmark = pytest.mark.slow  # each starts processes


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Twelve sheets, four of them bad in four ways, two with files beside them, and processes for six each."""
    monkeypatch.setattr(inspectors, "LEAST", 6)
    monkeypatch.setattr(inspectors, "BATCH", 2)
    monkeypatch.setenv("GROUNDPLAN_RUN__WORKERS", "2")
    made = make_project(tmp_path / "home", run={"workers": 2})
    folder = made.home / "store" / landing_prefix(HERE)
    folder.mkdir(parents=True)
    for number in range(12):
        lay(folder / f"{number:02}.tif", ground(32, 32), place(number * 10, 0))
    (folder / "01.tif").write_bytes(b"")
    (folder / "04.tif").write_bytes(b"Dear customer, here are your pictures")
    (folder / "05.tif").write_bytes((folder / "05.tif").read_bytes()[:200])
    lay(folder / "07.tif", ground(32, 32), place(0, 0), crs=None)
    (folder / "02.tif.aux.xml").write_text("<PAMDataset/>")
    (folder / "03.tfw").write_text("0.3\n0\n0\n-0.3\n1\n2\n")
    return made


def made(project: Project, check: Cancellation | None = None) -> bytes:
    (planned,) = catalog.plan(project, HERE)
    return catalog.make(project, planned, check or Cancellation()).data


def test_the_catalogue_is_the_same_byte_for_byte(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    begin = inspectors._Inspector.__init__
    monkeypatch.setattr(inspectors._Inspector, "__init__", lambda *given: (started.append(given), begin(*given))[1])
    several = made(project)
    assert len(started) == 2
    monkeypatch.setattr(inspectors, "LEAST", 500)
    assert made(project) == several
    assert len(started) == 2, "few sheets start no process"
    found = catalog.from_parquet(several)
    assert [sheet.name for sheet in found.sheets] == [f"{number:02}.tif" for number in (0, 2, 3, 6, 8, 9, 10, 11)]
    assert [item.key[-6:] for item in found.quarantined] == ["01.tif", "04.tif", "05.tif", "07.tif"]


def test_what_several_processes_cost_is_written_down(project: Project) -> None:
    (planned,) = catalog.plan(project, HERE)
    assert catalog.make(project, planned, Cancellation()).facts["cpu_seconds"] > 0


@pytest.mark.kill
def test_a_process_that_ends_loses_no_sheet(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    right, ask = made(project), inspectors._Inspector.ask

    def killed(self: inspectors._Inspector, *given: object) -> object:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return ask(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(inspectors._Inspector, "ask", killed)
    assert made(project) == right


@pytest.mark.fault
def test_a_file_that_changes_meanwhile_stops_the_step_as_before(project: Project) -> None:
    (planned,) = catalog.plan(project, HERE)
    (project.home / "store" / landing_prefix(HERE) / "06.tif").write_bytes(b"another delivery")
    with pytest.raises(StoreFailed, match="it changed while it was read"):
        catalog.make(project, planned, Cancellation())


def test_a_run_that_is_told_to_stop_leaves_no_process(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = []
    begin = inspectors._Inspector.__init__

    def kept(self: inspectors._Inspector, *given: object) -> None:
        begin(self, *given)  # type: ignore[arg-type]
        processes.append(self._process)

    monkeypatch.setattr(inspectors._Inspector, "__init__", kept)
    check = Cancellation()
    check.stop()
    with pytest.raises(Stopped):
        made(project, check)
    assert [process.poll() is not None for process in processes] == [True, True]
