"""The README's numbers, reproduced by its own commands; minutes each: `pytest -m slow`."""

import json
from functools import cache

import pytest

from scripts import runs
from scripts.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The report of a preset, trained once however many claims it bears: its agent judged on 200 test levels."""

    @cache
    def report(preset):
        run = tmp_path_factory.mktemp("runs") / preset
        assert main(["train", preset, "--out", str(run)]) == 0
        made = json.loads((run / "report.json").read_text())
        assert len(made["seeds"]) == 200
        assert made["split"] == "test"
        return {"labels": runs.config(run).schedule.steps, **made["scores"]["agent"]["success"], **made}

    return report


def test_the_demo_keeps_its_promise(tmp_path, capsys):
    assert main(["demo", "--runs", str(tmp_path)]) == 0
    assert "the agent beats random" in capsys.readouterr().out


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
    """The control: where the learner sees all, the expert's own states suffice, and DAgger gains little."""
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
