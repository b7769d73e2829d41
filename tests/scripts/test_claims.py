"""The numbers of README and docs, reproduced by their commands; minutes each, `bench ssl` hours: `pytest -m slow`."""

import json
import re
import shlex
from functools import cache

import pytest

from embodia.scripts.assembly import runs
from embodia.scripts.bench.discovery.cuts import HOMES
from embodia.scripts.bench.discovery.slots import SMALL
from embodia.scripts.bench.harness import results
from embodia.scripts.bench.harness.options import Timed
from embodia.scripts.bench.self_supervision.home_probe import SCORES
from embodia.scripts.main import main
from embodia.tests.readme import ROOT, flat, row, said

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The report of a preset, trained once for all claims about it."""

    @cache
    def report(preset, seed=0):
        run = tmp_path_factory.mktemp("runs") / preset
        assert main(["train", preset, "--seed", str(seed), "--out", str(run)]) == 0
        return {"labels": runs.config(run).schedule.steps, **json.loads((run / "report.json").read_text())}

    return report


@pytest.fixture(scope="module")
def trained(reports):
    """The report of an agent evaluated on 200 test levels."""

    def report(preset):
        made = reports(preset)
        assert len(made["seeds"]) == 200
        assert made["split"] == "test"
        return {**made["scores"]["agent"]["success"], **made}

    return report


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The rows and controls of a bench in an empty folder, by name and unit."""
    monkeypatch.chdir(tmp_path)

    def measured(*arguments):
        assert main(["bench", *arguments, "--results", "new"]) == 0
        (path,) = (tmp_path / "new").iterdir()
        return flat(results.read(path))

    return measured


TIMED = {each().name for each in Timed.__subclasses__()}
REPEATABLE = [
    path
    for path in sorted((ROOT / results.RESULTS).glob("*.json"))
    if path.stem not in TIMED and "--trained" not in results.content(path)["command"]
]
"""Result files but those of timings, and those that need the folders of runs."""


@pytest.mark.parametrize("path", REPEATABLE, ids=lambda path: path.stem)
def test_the_command_of_a_result_file_gives_its_numbers(path, bench):
    measured = bench(*shlex.split(results.content(path)["command"])[2:])
    for key, each in flat(results.read(path)).items():
        found = measured[key]
        assert found.low <= each.high, key
        assert each.low <= found.high, key


def test_the_demo_keeps_its_promise(tmp_path, capsys):
    assert main(["demo", "--runs", str(tmp_path)]) == 0
    assert "the agent is better than random" in capsys.readouterr().out
    shown = json.loads((tmp_path / "demo" / "report.json").read_text())["videos"]
    assert [each["path"] for each in shown[-2:]] == ["videos/home-seed-1.mp4", "videos/road-seed-0.mp4"]


def test_ppo_solves_empty(trained):
    made = trained("ppo-empty")
    assert made["value"] >= 0.99
    assert made["cpu_minutes"] < 10


@pytest.mark.parametrize("task", ["doorkey", "fourrooms"])
def test_dagger_solves_unseen_levels_from_the_whole_grid(task, trained):
    made = trained(f"dagger-{task}")
    assert made["value"] >= 0.95
    assert made["cpu_minutes"] < 10


@pytest.mark.parametrize("task", ["doorkey", "fourrooms"])
def test_an_expert_that_sees_no_more_can_be_cloned_from_as_many_labels(task, trained):
    """The baseline: if the learner observes everything, the expert's own states suffice, and DAgger gains little."""
    asked, cloned = trained(f"dagger-{task}"), trained(f"bc-{task}")
    assert asked["labels"] == cloned["labels"]
    assert asked["high"] > cloned["low"]
    assert cloned["value"] >= 0.9


def test_an_expert_that_sees_more_leaves_a_gap(trained):
    seeing, forgetting = trained("dagger-fourrooms"), trained("dagger-fourrooms-view")
    assert seeing["labels"] == forgetting["labels"]
    assert seeing["low"] > forgetting["high"]


def test_memory_narrows_the_gap(trained):
    seeing, remembering, forgetting = (trained(f"dagger-fourrooms{view}") for view in ("", "-memory", "-view"))
    assert seeing["labels"] == remembering["labels"] == forgetting["labels"]
    assert seeing["low"] > remembering["high"], "the imitation gap"
    assert remembering["low"] > forgetting["high"], "what memory is worth"


def test_dagger_finds_its_way_in_unseen_homes_and_needs_its_eyes(trained):
    seeing, blind = trained("dagger-pointnav"), trained("blind-pointnav")
    assert seeing["labels"] == blind["labels"]
    assert seeing["value"] >= 0.80
    assert seeing["scores"]["agent"]["spl"]["value"] >= 0.60
    assert seeing["cpu_minutes"] < 30
    assert seeing["low"] > blind["high"]


# Beside the papers ------------------------------------------------------------------------------------------------


def test_dino_wm_goes_through_the_wall_by_patches_and_by_planning_again(bench):
    wall = row("bench wall")
    words = {"random, mpc": "random encoder", "patches, open loop": "open loop", "patches, gradient": "gradient",
             "global, mpc": "one global vector"}  # fmt: skip
    expected = {"patches, mpc": said(wall.here)} | {case: said(wall.control, name) for case, name in words.items()}
    measured = bench("wall", "--seeds", str(wall.seeds))
    found = {case: measured[case, "success"] for case in expected}
    for case, each in found.items():
        assert expected[case].meets(each.low, each.high), (case, each)
    best = found.pop("patches, mpc")
    assert best.value >= 0.9
    assert all(best.value > each.value for each in found.values())
    assert best.low > max(found["patches, open loop"].high, found["random, mpc"].high)


def test_an_encoder_taught_by_the_agents_own_video_plans_better_than_a_random_one(bench):
    chain = row("bench chain")
    words = {"random encoder": "random frozen encoder", "wandering": "wandering",
             "true moves": "true moves and distances"}  # fmt: skip
    expected = {name: said(chain.control, spelled) for name, spelled in words.items()}
    expected["own video encoder"] = said(chain.here)
    found = bench("chain", "--seeds", str(chain.seeds))
    for name, number in expected.items():
        each = found[name, "success"]
        assert number.meets(each.low, each.high), each
    assert found["own video encoder", "success"].low > found["random encoder", "success"].high
    assert found["own video minus random encoder", "difference of success, paired"].low > 0


@pytest.mark.parametrize("preset", ["td-mpc2-pendulum", "dreamer-pendulum"])
def test_latent_models_swing_a_pendulum_up(preset, reports):
    pendulum = {"td-mpc2-pendulum": row("train td-mpc2-pendulum"), "dreamer-pendulum": row("train dreamer-pendulum")}
    here, control = said(pendulum[preset].here, "return"), said(pendulum[preset].control, "random")
    exact = said(pendulum[preset].control, "true equations")
    found = [reports(preset, seed)["scores"] for seed in range(pendulum[preset].seeds)]
    own, chance = ([each[who]["return"] for each in found] for who in ("agent", "random"))
    assert sum(each["value"] for each in own) / len(own) == pytest.approx(here.value, abs=30)
    assert control.meets(chance[0]["low"], chance[0]["high"]), chance
    assert min(each["low"] for each in own) > max(each["high"] for each in chance)
    planned = reports("mpc-pendulum")["scores"]["agent"]["return"]
    assert exact.meets(planned["low"], planned["high"]), planned


def test_plans_in_a_learned_rssm_get_the_pendulum_up(reports):
    planned = row("train mpc-rssm-pendulum")
    scores = reports("mpc-rssm-pendulum")["scores"]
    own, chance = (scores[who]["return"] for who in ("agent", "random"))
    assert said(planned.here, "return").meets(own["low"], own["high"]), own
    assert said(planned.control, "random").meets(chance["low"], chance["high"]), chance
    assert own["low"] > chance["high"]


def test_self_supervised_features_tell_shapes_apart(bench):
    ssl = row("bench ssl")
    said_of = dict(re.findall(r"([A-Z][\w ]*?) ([\d.]+/[\d.]+)", ssl.here))
    controls = {"PCA-64 of pixels": r"pixels ([\d.]+/[\d.]+)", "untrained": r"untrained ([\d.]+/[\d.]+)"}
    said_of |= {name: re.search(words, ssl.control)[1] for name, words in controls.items()}
    found = bench("ssl", "--seeds", str(ssl.seeds))
    for name, numbers in said_of.items():
        scores = [100 * found[name, score].value for score in ("linear probe", "20 nearest neighbours")]
        assert scores == pytest.approx([float(each) for each in numbers.split("/")], abs=4), name
    painted, tuned = (each for (name, _), each in found.items() if name.startswith("MAE, "))
    assert painted.value < 0.35 < painted.controls[0].value
    assert tuned.value > tuned.controls[0].value + 0.03
    linear = {name: each.value for (name, unit), each in found.items() if unit == "linear probe"}
    best_control = max(linear[name] for name in controls)
    assert all(linear[name] > best_control + 0.2 for name in said_of.keys() - controls.keys())


def test_complex_phases_bind_what_belongs_to_one_shape(bench):
    shapes = row("bench discovery", "complex autoencoder")
    numbers = [said(each).value for each in shapes.here.split(" / ")]
    expected = dict(zip(("ARI-BG", "ARI+BG"), numbers, strict=True))
    measured = bench("discovery", "--only", "cae-2shapes", "--seeds", str(shapes.seeds))
    found = {unit: each.value for (name, unit), each in measured.items() if name == "2Shapes: complex autoencoder"}
    assert found == pytest.approx(expected, abs=0.02)


def test_token_cut_by_the_projects_own_dino_finds_things_in_homes(bench):
    homes = row("bench discovery", "frames of unseen homes")
    words = {"box in the middle": "centre box", "untrained transformer": "TokenCut, random ViT"}
    expected = {name: said(homes.control, said_so) for said_so, name in words.items()}
    measured = bench("discovery", "--only", "cuts-homes", "--seeds", str(homes.seeds))
    found = {name.split(" of side")[0]: each for (name, unit), each in measured.items() if unit == "CorLoc"}
    for name, number in expected.items():
        assert number.meets(found[name].low, found[name].high), found[name]
    own = found[f"{HOMES}: TokenCut, DINO"]
    assert own.value == pytest.approx(said(homes.here).value, abs=0.04)
    for control in ("centre box", "TokenCut, random ViT"):
        assert min(own.by_seed) > found[control].high


def test_slot_attention_tells_pieces_apart_whatever_their_colours(bench):
    pieces = row("bench discovery", "slot attention")
    found = bench("discovery", "--only", "slots", "--seeds", str(pieces.seeds))
    alike = "where both have one"
    for score, words, theirs in (("FG-ARI", "", "colours"), ("FG-ARI, one colour", alike, alike)):
        ours, colours = (found[who, score].value for who in (f"{SMALL}: slot attention", "k-means of colours"))
        assert ours == pytest.approx(said(pieces.here, words).value, abs=0.05)
        assert colours == pytest.approx(said(pieces.control, theirs).value, abs=0.01)
    assert ours > colours + 0.3
    assert sum(each >= 0.95 for each in found[f"{SMALL}: slot attention", "FG-ARI"].by_seed) >= 2


def test_in_three_thousand_steps_models_and_experts_teach_what_reward_alone_does_not(bench):
    rows = [each for (name, _), each in bench("matrix").items() if name.startswith("grid: ")]
    rewarded = [each for each in rows if each.name.startswith("grid: ppo")]
    others = [each for each in rows if each not in rewarded]
    assert min(each.value for each in others) >= 0.95
    assert min(each.low for each in others) > max(each.high for each in rewarded)


def test_encoders_that_taught_themselves_know_unseen_homes_better_than_random_ones(bench):
    homes = row("bench homes-probe")
    spelled = {
        "augmentation": (homes.here, "by augmentation"),
        "time and colours": (homes.here, "changed colours"),
        "augmentation and time": (homes.here, "by both"),
        "supervised": (homes.here, "supervised"),
        "temporal": (homes.control, "by time alone"),
        "random": (homes.control, "random encoder"),
        "PCA-64 of pixels": (homes.control, "pixels"),
    }
    found = bench("homes-probe", "--seeds", str(homes.seeds))
    keys = ("room_linear", "objects_auc", "depth_r2")
    for name, (cell, words) in spelled.items():
        room, objects, depth = re.search(rf"{words} ([\d.]+)/([\d.]+)/([\d.]+)", cell).groups()
        scores = [found[name, SCORES[key]].value for key in keys]
        assert scores == pytest.approx([float(room) / 100, float(objects), float(depth)], abs=0.05), name
    for name in ("augmentation", "time and colours", "augmentation and time"):
        assert found[name, SCORES["room_linear"]].low > found["random", SCORES["room_linear"]].high
