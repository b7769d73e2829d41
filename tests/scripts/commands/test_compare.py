"""`embodia compare`: which run is better depends on the direction of the score."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embodia.scripts.main import main
from embodia.scripts.report.curves import curve, mean_curve
from embodia.scripts.report.seeds import over_seeds

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


def seeds(under, name, distances):
    """Evaluations of several seeds of one training, with learning curves."""
    for seed, values in enumerate(distances):
        folder = under / f"{name}-seed{seed}"
        evaluation(folder, values, better={"distance_to_goal": "lower"})
        lines = [{"step": step, "eval/distance_to_goal": 10 - step / 100 + seed} for step in (100, 200, 300)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_all_seeds_of_a_preset_are_one_line_with_an_interval_over_seeds(tmp_path, capsys):
    seeds(tmp_path, "near", [[1.0, 1.2], [1.4, 1.6], [2.0, 2.2]])
    seeds(tmp_path, "near-not", [[9.0, 9.0]])
    assert main(["compare", "near", "--runs", str(tmp_path), "--json"]) == 0
    group = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]["near"]
    assert group["seeds"] == 3
    found = group["scores"]["distance_to_goal"]
    assert found["value"] == pytest.approx((1.1 + 1.5 + 2.1) / 3)
    assert found["low"] < 1.4
    assert found["high"] > 1.8, "seeds differ by more than the episodes of one"


def test_several_runs_are_drawn_by_group(tmp_path, capsys):
    seeds(tmp_path, "near", [[1.0, 1.2], [1.4, 1.6]])
    seeds(tmp_path, "far", [[3.0, 3.2]])
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    picture = tmp_path / "pictures" / "curves.png"
    assert main(["compare", *folders, "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "near: 2 seeds, 4 episodes" in said
    assert "far: 1 seed, 2 episodes" in said
    assert Image.open(picture).size > (500, 300)


def test_two_runs_are_drawn_too_and_one_without_a_curve_is_named(tmp_path, capsys):
    seeds(tmp_path, "near", [[1.0, 1.2]])
    alone = evaluation(tmp_path / "alone", [1.0, 1.3])
    assert main(["compare", str(tmp_path / "near-seed0"), alone, "--plot", str(tmp_path / "x.svg")]) == 0
    assert f"no curve of distance_to_goal in {alone}" in capsys.readouterr().err


def test_a_picture_that_is_none_and_no_run_at_all_are_said(tmp_path, capsys):
    a = evaluation(tmp_path / "a", [1.0, 1.3])
    assert main(["compare", a, a, "--plot", "curves.txt"]) == 2
    assert "curves.txt is no picture" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert "name the runs to compare" in capsys.readouterr().err


def test_the_mean_curve_is_where_all_seeds_have_been():
    steps = np.array([0.0, 10.0, 20.0])
    (at, mean), half = mean_curve([(steps, steps), (steps[:2], steps[:2] + 2)])
    np.testing.assert_allclose(at, [0, 10])
    np.testing.assert_allclose(mean, [1, 11])
    np.testing.assert_allclose(half, 12.706204736 * np.sqrt(2) / np.sqrt(2), rtol=1e-6)  # Student's t, one degree


def test_an_interval_over_seeds_covers_the_mean_of_trainings():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        trained = rng.normal(0.0, 1.0, 8)
        found = over_seeds([rng.normal(mean, 0.5, 20) for mean in trained], resamples=500)
        covered += found.low <= 0.0 <= found.high
    assert 84 <= covered <= 99  # a bootstrap over eight seeds is a little too narrow


def torn(folder, file, text):
    """Spoil one file of an evaluation."""
    (Path(folder) / file).write_text(text)


AGENT = '{"policy": "agent", "seed": 0, "length": 9, "return": 0.0, "metrics": {}}'
SPOILED = {
    "a report that is a list": ("report.json", "[]", "report.json: better is missing"),
    "a report without environment": ("report.json", '{"split": "test", "headline": "return"}', "report.json: env is"),
    "a headline that is a number": ("report.json", '{"env": "e", "split": "test", "headline": 3}', "headline is"),
    "a third direction": ("report.json", '{"better": {"success": "up"}}', "report.json: better is"),
    "a torn report": ("report.json", '{"env', "report.json cannot be read"),
    "a torn episode": ("episodes.jsonl", AGENT[:30], "episodes.jsonl line 1 is invalid"),
    "a score that is NaN": ("episodes.jsonl", AGENT.replace("0.0", "NaN"), "line 1 is invalid (return is nan)"),
    "a score that is text": ("episodes.jsonl", AGENT.replace("{}", '{"spl": "high"}'), "invalid (spl is 'high')"),
    "an endless seed": ("episodes.jsonl", AGENT.replace('"seed": 0', '"seed": Infinity'), "line 1 is invalid"),
    "no agent": ("episodes.jsonl", AGENT.replace("agent", "random"), "has no episodes of an agent"),
    "bytes": ("episodes.jsonl", "\\udcff", "line 1 is invalid"),
}


@pytest.mark.parametrize(("file", "text", "said"), SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("runs", [2, 3], ids=["pair", "groups"])
def test_a_spoiled_evaluation_is_one_message(tmp_path, capsys, runs, file, text, said):
    folders = [evaluation(tmp_path / name, [1.0, 2.0]) for name in "abc"[:runs]]
    torn(folders[-1], file, text)
    assert main(["compare", *folders]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("runs", [2, 3], ids=["pair", "groups"])
def test_a_score_that_some_episodes_lack_is_not_compared_and_named(tmp_path, capsys, runs):
    folders = [evaluation(tmp_path / name, [1.0, 2.0]) for name in "abc"[:runs]]
    path = Path(folders[0]) / "episodes.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + second.replace('"distance_to_goal": 2.0', "") + "\n")
    assert main(["compare", *folders]) == 0
    said = capsys.readouterr()
    of = 4 if runs == 2 else 2  # of both runs of a pair, or of the run that lacks it
    assert f"distance_to_goal: 1 of {of} episodes lack it" in said.err
    assert ("distance_to_goal" in said.out) == (runs == 3), "the other groups have it"


def test_groups_on_other_levels_are_refused_and_repeats_count_once(tmp_path, capsys):
    folders = [evaluation(tmp_path / name, [1.0, 1.0, 4.0]) for name in "abc"]
    for each in folders:
        name_levels(each, lambda seed: f"home-{max(seed, 1)}")
    assert main(["compare", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]["a"]
    assert found["scores"]["distance_to_goal"]["value"] == 2.5, "two levels, of which one was played twice"
    name_levels(folders[2], lambda seed: f"elsewhere-{seed}")
    assert main(["compare", *folders]) == 2
    assert "seed 0 is level home-1 in" in capsys.readouterr().err


def test_equal_names_in_other_folders_are_other_groups(tmp_path, capsys):
    """Otherwise the old and the new version of a method would be averaged as one."""
    folders = []
    for version, distance in (("old", 3.0), ("new", 1.0)):
        (tmp_path / version).mkdir()
        seeds(tmp_path / version, "near", [[distance, distance + 1]] * 2)
        folders += [str(path) for path in sorted((tmp_path / version).iterdir())]
    assert main(["compare", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]
    assert [each["scores"]["distance_to_goal"]["value"] for each in found.values()] == [3.5, 1.5]
    assert all(each["seeds"] == 2 for each in found.values())
    assert main(["compare", *folders[:3], folders[0]]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_evaluations_inside_runs_are_grouped_by_their_runs(tmp_path, capsys):
    folders = []
    for name in ("near-seed0", "near-seed1", "far-seed0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        folders.append(evaluation(tmp_path / name / "eval-test-best", [1.0, 2.0]))
    assert main(["compare", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]
    assert sorted(each["seeds"] for each in found.values()) == [1, 2]


def test_curves_skip_torn_lines_and_scores_that_are_null(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 2, "eval/x": 3.0}\n{"step": 1, "eval/x": 1.0}\n{"step": 3, "eval/x": null}\n{"eval/x": 4}\n{"st'
    )
    with pytest.warns(UserWarning, match="line 5 is torn"):
        steps, values = curve(tmp_path, "x")
    assert (steps.tolist(), values.tolist()) == ([1, 2], [1, 3])


def test_what_names_no_run_is_one_message(tmp_path, capsys):
    for name in ("/nowhere/at-all", "near[", "**"):
        assert main(["compare", name, "--runs", str(tmp_path)]) == 2
        assert f"{name} is not a run" in capsys.readouterr().err
