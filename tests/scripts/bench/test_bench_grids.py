"""The bench of grids: its rows, and XLand-MiniGrid's figure where it cannot be installed."""

import subprocess

import pytest

from embodia.scripts.bench.harness.options import Grids
from embodia.scripts.bench.speed import grids


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIA_CACHE", str(tmp_path))
    return tmp_path


def test_every_row_stands_beside_minigrid():
    rows = grids.measure(Grids(seeds=1, smoke=True, workers=0))
    names = {"empty 1024", "empty 1024, new levels", "doorkey 1024", "doorkey 1024, new levels"}
    assert {row.name for row in rows} == names
    for name in names:
        found = {row.unit: row for row in rows if row.name == name}
        ratio, steps = found[grids.TIMES], found["steps per CPU second"]
        minigrid = next(control for control in steps.controls if control.name == "minigrid")
        assert ratio.value == pytest.approx(steps.value / minigrid.value)
        assert found["steps_per_s"].value > 0
    share = [row.value for row in rows if row.unit.startswith("share")]
    assert len(share) == 2
    assert all(0 < value < 1 for value in share)


def test_a_peer_that_cannot_be_installed_is_replaced_by_its_earlier_figure(monkeypatch, capsys, tmp_path):
    def offline(asked, **_):
        raise subprocess.CalledProcessError(1, asked, stderr="ERROR: no matching distribution\n")

    monkeypatch.setattr(grids.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(grids.subprocess, "run", offline)
    (row,) = grids.peer("doorkey", Grids(out=tmp_path))
    assert (row.name, row.value) == ("xland (earlier figure)", 145_000.0)
    assert capsys.readouterr().err == "XLand-MiniGrid cannot be measured (ERROR: no matching distribution)\n"
