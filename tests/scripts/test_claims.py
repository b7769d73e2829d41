"""The README's numbers, reproduced by its own commands; minutes each: `pytest -m slow`."""

import json

import pytest

from scripts.main import main

pytestmark = pytest.mark.slow


def trained(preset, tmp_path):
    """Scores of the preset's agent on 200 test levels, and CPU minutes of its training."""
    assert main(["train", preset, "--out", str(tmp_path / preset)]) == 0
    made = json.loads((tmp_path / preset / "report.json").read_text())
    assert len(made["seeds"]) == 200
    assert made["split"] == "test"
    return made["scores"]["agent"]["success"], made["cpu_minutes"]


def test_the_demo_keeps_its_promise(tmp_path, capsys):
    assert main(["demo", "--runs", str(tmp_path)]) == 0
    assert "the agent beats random" in capsys.readouterr().out


def test_ppo_solves_empty(tmp_path):
    success, minutes = trained("ppo-empty", tmp_path)
    assert success["value"] >= 0.99
    assert minutes < 10


@pytest.mark.parametrize("preset", ["dagger-doorkey", "dagger-fourrooms"])
def test_dagger_solves_unseen_levels_from_the_whole_grid(preset, tmp_path):
    success, minutes = trained(preset, tmp_path)
    assert success["value"] >= 0.95
    assert minutes < 10


def test_an_expert_that_sees_more_leaves_a_gap_that_memory_narrows(tmp_path):
    seeing, _ = trained("dagger-doorkey", tmp_path)
    remembering, _ = trained("dagger-doorkey-memory", tmp_path)
    forgetting, _ = trained("dagger-doorkey-view", tmp_path)
    assert seeing["low"] > remembering["high"], "the imitation gap"
    assert remembering["low"] > forgetting["high"], "what memory is worth"


def test_dagger_finds_its_way_in_unseen_homes_and_needs_its_eyes(tmp_path):
    seeing, minutes = trained("dagger-pointnav", tmp_path)
    assert seeing["value"] >= 0.80
    assert minutes < 30
    spl = json.loads((tmp_path / "dagger-pointnav" / "report.json").read_text())["scores"]["agent"]["spl"]
    assert spl["value"] >= 0.60
    blind, _ = trained("blind-pointnav", tmp_path)
    assert seeing["low"] > blind["high"]
