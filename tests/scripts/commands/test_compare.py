"""`embodia compare`: which run is better depends on the direction of the score."""

import json
from pathlib import Path

import pytest

from embodia.scripts.main import main

N = 12


def evaluation(folder, distances, **said):
    """A folder as written by `embodia eval`, for an agent with these final distances to its goals."""
    folder.mkdir()
    made = {"env": "embodia/PointNav-v0", "split": "test", "headline": "distance_to_goal", **said}
    (folder / "report.json").write_text(json.dumps(made))
    lines = [
        {"policy": "agent", "seed": seed, "length": 9, "return": 0.0, "metrics": {"distance_to_goal": distance}}
        for seed, distance in enumerate(distances)
    ]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


@pytest.mark.parametrize(("better", "winner"), [("lower", "A"), ("higher", "B")])
def test_the_declared_way_is_better(tmp_path, capsys, better, winner):
    near = evaluation(tmp_path / "near", [1 + 0.01 * i for i in range(N)], better={"distance_to_goal": better})
    far = evaluation(tmp_path / "far", [3 + 0.02 * i for i in range(N)], better={"distance_to_goal": better})
    assert main(["compare", near, far, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"distance_to_goal: {winner} is better") for line in lines)
    row = next(line for line in lines if line.startswith("distance_to_goal  "))
    assert better in row
    assert (f"{N}/0" if better == "lower" else f"0/{N}") in row
    said = json.loads(lines[-1])
    assert said["better"] == {"distance_to_goal": better}
    assert said["headline"] == "distance_to_goal"
    assert said["scores"]["distance_to_goal"]["difference"]["value"] < 0
    length = next(line for line in lines if line.startswith("length"))
    assert " - " in length, "of a score that nobody declares neither is called better"


def test_one_report_that_says_it_is_enough(tmp_path, capsys):
    """A run of a version whose reports had no direction of scores, beside a newer one."""
    old = evaluation(tmp_path / "old", [3 + 0.02 * i for i in range(N)])
    new = evaluation(tmp_path / "new", [1 + 0.01 * i for i in range(N)], better={"distance_to_goal": "lower"})
    assert main(["compare", old, new]) == 0
    assert "distance_to_goal: B is better" in capsys.readouterr().out


def name_levels(folder, name):
    """Write the names of the levels into the episodes of an evaluation."""
    path = Path(folder) / "episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "level": name(line["seed"])}) + "\n" for line in lines))


def test_equal_seeds_of_other_episode_files_are_not_paired(tmp_path, capsys):
    ours = evaluation(tmp_path / "ours", [1 + 0.01 * i for i in range(N)])
    theirs = evaluation(tmp_path / "theirs", [3 + 0.02 * i for i in range(N)])
    name_levels(ours, lambda seed: f"home-{seed}")
    name_levels(theirs, lambda seed: f"home-{seed}" if seed < 5 else f"elsewhere-{seed}")
    assert main(["compare", ours, theirs]) == 2
    said = capsys.readouterr().err
    assert "seed 5 is level home-5 in" in said
    assert "elsewhere-5" in said


def test_repeats_of_a_level_are_one_pair(tmp_path, capsys):
    near = evaluation(tmp_path / "near", [1 + 0.01 * i for i in range(N)])
    far = evaluation(tmp_path / "far", [3 + 0.02 * i for i in range(N)])
    for each in (near, far):
        name_levels(each, lambda seed: f"home-{seed % 3}")
    assert main(["compare", near, far, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("(3 distinct levels; repeats count once)" in line for line in lines)
    assert json.loads(lines[-1])["scores"]["distance_to_goal"]["n"] == 3
