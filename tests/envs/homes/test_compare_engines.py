"""The comparison with habitat-sim: its tables, on kept answers and on a stand-in for the real one."""

import sys
from pathlib import Path

import numpy as np
import pytest

from embodia.envs.homes import compare_engines as compare
from embodia.tests.envs.homes.engines import fake_habitat_sim

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(("file", "scenes"), [("recast.npz", 3), ("recast_more.npz", 12)])
def test_kept_answers_agree_to_the_last_bit(capsys, file, scenes):
    """habitat-sim's own on three scenes; Recast's and Detour's on stairs, ramps, slopes, rough and crowded floors."""
    assert compare.main(["answers", str(DATA / file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + scenes * 6
    assert all(line.endswith("| 100.0 % | 100.0 % | 0 |") for line in lines[2:])


def test_wrong_answers_are_seen(tmp_path, capsys):
    with np.load(DATA / "recast.npz") as stored:
        answers = {name: stored[name] for name in stored.files if name.startswith("room")}
    name = next(name for name in answers if name.endswith("|geo"))
    answers[name] = answers[name] + np.float32(0.5)
    np.savez(tmp_path / "a.npz", **answers)
    assert compare.main(["answers", str(tmp_path / "a.npz")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "geodesic" in line]
    assert "| 0.0 % | 0.0 % | 0.5 |" in line


def test_a_file_without_answers_is_named(tmp_path, capsys):
    (tmp_path / "a.npz").write_bytes(b"PK")
    assert compare.main(["answers", str(tmp_path / "a.npz")]) == 2
    assert "a.npz holds no answers of habitat-sim" in capsys.readouterr().err


def test_without_habitat_sim_one_line_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    assert compare.main(["episodes", "home-7-low"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "needs habitat_sim 0.3.4" in error


def test_the_same_episodes_in_both_engines(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "habitat_sim", fake_habitat_sim)
    monkeypatch.setattr(compare, "SPEED_CALLS", 1)
    for file in (DATA / "apartment").glob("apartment*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    scene = str(tmp_path / "apartment.glb")
    try:
        assert compare.main(["episodes", scene, "--episodes", "2", "--size", "24", "--task", "ObjectNav"]) == 0
        assert fake_habitat_sim.simulators == []
    finally:
        fake_habitat_sim.forget()
    first, agreement, speeds = capsys.readouterr().out.split("\n\n")
    assert first.startswith("embodia and habitat-sim 0.3.4, steps without sliding as in 0.3.3, ")
    table = dict(line.strip("| ").split(" | ") for line in agreement.splitlines()[2:])
    for name in ("position [m]", "distance to goal [m]", "reward", "gps", "compass", "proximity", "expert's actions"):
        assert float(table[name]) < 1e-5, name
    assert float(table["depth within 1 cm, share"]) == 1
    assert float(table["semantic ids equal, share"]) == 1
    rows = [line.strip("| ").split(" | ") for line in speeds.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *(f"frames, {name}, cameras a call: {count}" for count in (1, 8) for name in ("depth", "RGB", "all three")),
        "geodesic distances",
        "steps of ObjectNav, depth",
    ]
    assert all(float(row[3]) > 0 for row in rows)
