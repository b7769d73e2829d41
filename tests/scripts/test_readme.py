"""What the README promises: its code runs, its commands exist, its numbers of commands and files are real."""

import ast
import re
import shlex
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import make
from embodia.scripts.main import VERBS, main
from embodia.scripts.presets.table import PRESETS
from embodia.tests.readme import ROOT, TEXT, Said, row, rows, said

BLOCKS = dict(re.findall(r"```python\n# (\w+\.py|Any agent)[^\n]*\n(.*?)```", TEXT, re.S))
COMMANDS = re.findall(r"(?:^|`)(embodia [a-z]+[^`\n|]*)", TEXT, re.M)


def run(name):
    """The names that a block defines."""
    names: dict = {}
    exec(compile(BLOCKS[name], name, "exec"), names)
    return names


def test_every_code_block_is_tried_here():
    assert set(BLOCKS) == {"corridor.py", "flat.py", "habit.py", "Any agent"}
    assert TEXT.count("```python") == len(BLOCKS)
    for name, code in BLOCKS.items():
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= 24, f"{name}: ten lines or so, not {len(lines)}"


def test_the_environment_is_one_and_trains_from_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corridor.py").write_text(BLOCKS["corridor.py"])
    command = next(command for command in COMMANDS if "corridor:" in command)
    small = ["--evaluation.episodes", "8", "--evaluation.during", "4", "--out", str(tmp_path / "run")]
    assert main([*shlex.split(command)[1:], *small]) == 0
    assert "success" in capsys.readouterr().out
    env = gym.make("Corridor-v0")
    check_env(env.unwrapped, skip_render_check=True)


def test_the_encoder_feeds_an_agent_and_the_loop_trains_it():
    code = BLOCKS["flat.py"] + BLOCKS["Any agent"].replace("steps=2_000", "steps=1_200")
    names: dict = {}
    exec(compile(code, "flat.py", "exec"), names)
    encoder = names["agent"].policy.encoder
    seen = torch.zeros((3, 2, *encoder.space["symbolic"].shape), dtype=torch.uint8)
    assert encoder({"symbolic": seen}).shape == (3, 2, 1, 64)
    episodes = evaluate(names["agent"], names["env"], range(8))
    assert np.mean([episode.metrics["success"] for episode in episodes]) == 1.0
    names["env"].close()


def test_the_agent_forms_a_habit_and_keeps_it(tmp_path):
    gym.registry.pop("Corridor-v0", None)
    run("corridor.py")
    agent = run("habit.py")["Habit"]
    env = make("Corridor-v0", 2)
    habit = agent(env.single_observation_space, env.single_action_space)
    train(habit, env, Schedule(steps=2_000))
    assert all(episode.metrics["success"] == 1 for episode in evaluate(habit, env, range(5)))
    habit.save(tmp_path)
    again = agent(env.single_observation_space, env.single_action_space)
    again.load(tmp_path)
    assert again.worth.argmax() == 1
    env.close()


def test_every_command_names_a_verb_and_a_preset_that_exist():
    assert {command.split()[1] for command in COMMANDS} <= {*VERBS, "VERB"}
    presets = {each.name for each in PRESETS}
    for command in COMMANDS:
        words = command.split()
        if words[1] == "train" and len(words) > 2 and words[2][0].islower():
            assert words[2] in presets, command
    assert {command.split()[1] for command in COMMANDS} >= set(VERBS), "the README shows every verb"


def test_every_row_beside_the_papers_is_reproduced_by_a_claim():
    claims = Path(__file__).with_name("test_claims.py").read_text()
    borne = {row(*ast.literal_eval(f"({asked},)")) for asked in re.findall(r"\brow\(([^)]*)\)", claims)}
    missing = [each.what for each in rows() if each not in borne]
    assert not missing, f"tests/scripts/test_claims.py asks for no row(...) of {missing}"


def test_numbers_are_read_with_their_intervals():
    cell = "open loop 0.49 [0.39, 0.59] (paper 0.74); gradient 0.5; return -154 [-193, -111]"
    assert said(cell, "open loop") == Said(0.49, 0.39, 0.59)
    assert said(cell, "return") == Said(-154, -193, -111)
    assert said(cell, "gradient") == pytest.approx((0.5, 0.45, 0.55))
    assert said(cell, "gradient").meets(0.3, 0.46)
    assert not said(cell, "gradient").meets(0.56, 0.9)


def test_the_picture_is_there_and_small():
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        size = (ROOT / name).stat().st_size
        assert 1_000 < size < 300_000, name
