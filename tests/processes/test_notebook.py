"""A notebook of the documents runs as it stands, in a kernel of its own, and stays small enough to keep in git."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow  # a kernel starts, and a project is built in it

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, built_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDPLAN_HOME", str(built_home))  # the one that reads results takes them from there
    notebook = nbformat.read(path, as_version=4)
    saved = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert saved, "people read it without running it: keep its outputs"
    assert not list(tmp_path.iterdir()), "it leaves something in the folder where it is opened"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_imports_no_dagster(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert path.stat().st_size < 400_000
    assert "dagster" not in code
    assert "torch" not in code
