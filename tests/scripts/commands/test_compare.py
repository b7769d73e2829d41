"""`embodia compare`: which run is better depends on the direction of the score."""

import json

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
