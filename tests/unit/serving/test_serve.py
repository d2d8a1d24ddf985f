"""`groundplan serve`: what it says before it serves, and what it is given to bear."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import new_project

from orchestration.cli import serve
from serving.maps.connections import Bounds


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("::", True), ("192.0.2.7", True), ("127.0.0.1", False), ("::1", False)]
)
def test_an_address_that_others_reach_is_warned_of(
    host: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Bounds] = []

    def server_of(_: object, __: str, ___: int, bounds: Bounds) -> SimpleNamespace:
        given.append(bounds)
        return SimpleNamespace(run=lambda: None)

    monkeypatch.setattr("serving.maps.connections.server_of", server_of)
    new_project(tmp_path, serving={"proxies": ["10.0.0.0/8"], "connections_per_address": 40})
    serve.serve(host=host, port=3001, home=tmp_path)
    said = capsys.readouterr()
    assert ("no log-in" in said.err) is warned
    assert host not in said.err or warned
    assert [(bounds.proxies, bounds.most_each) for bounds in given] == [(("10.0.0.0/8",), 40)]
