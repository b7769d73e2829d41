"""README and docs: their code runs, their commands exist, and their numbers of commands and files are correct."""

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from embodia.scripts.main import VERBS, main
from embodia.scripts.presets.table import PRESETS
from embodia.tests.readme import EXTENDING, PAGES, ROOT, TEXT, Said, row, rows, said

BLOCKS = dict(re.findall(r"```python\n# (\w+\.py)[^\n]*\n(.*?)```", EXTENDING, re.S))
COMMAND = re.compile(r"(?:^|`)(embodia [a-z]+[^`\n|]*)", re.M)
COMMANDS = COMMAND.findall(EXTENDING)


def run(name):
    """The names that a block defines."""
    names: dict = {}
    exec(compile(BLOCKS[name], name, "exec"), names)
    return names


def test_every_code_block_is_tried_here():
    assert set(BLOCKS) == {"corridor.py", "flat.py", "habit.py"}
    assert EXTENDING.count("```python") == len(BLOCKS)
    for name, code in BLOCKS.items():
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= 24, f"{name}: ten lines or so, not {len(lines)}"


SHORT = ["--evaluation.episodes", "8", "--evaluation.during", "4"]


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """The current folder, with the README's modules in it."""
    for name, code in BLOCKS.items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    gym.registry.pop("Corridor-v0", None)
    for name in BLOCKS:
        sys.modules.pop(name.removesuffix(".py"), None)


def typed(*words):
    """Run the README's command that contains these words, with fewer episodes; return the agent's success."""
    (command,) = (each for each in COMMANDS if all(word in each for word in words))
    train = command.split()[1] == "train"
    assert main([*shlex.split(command)[1:], *(SHORT if train else ["--episodes", "4", "--films", "0"])]) == 0
    newest = max(Path("runs").rglob("report.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())["scores"]["agent"]["success"]["value"]


def test_the_environment_is_one_and_trains_from_the_command(beside):
    typed("train", "corridor:", "--encoder.keys place")
    check_env(gym.make("Corridor-v0").unwrapped, skip_render_check=True)


def test_the_encoder_is_read_through_by_the_command_and_any_number_of_axes(beside):
    assert typed("train", "flat:Flat") == 1.0
    assert typed("eval", "flat:Flat") == 1.0
    encoder = run("flat.py")["Flat"](gym.spaces.Dict(rgb=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)))
    assert encoder({"rgb": torch.zeros((3, 2, 8, 8, 3), dtype=torch.uint8)}).shape == (3, 2, 1, 64)


def test_the_agent_forms_a_habit_and_keeps_it(beside):
    assert typed("train", "habit:Habit", "corridor:") == 1.0
    assert typed("eval", "habit:Habit", "corridor:") == 1.0


@pytest.mark.parametrize("page", PAGES)
def test_every_command_names_a_verb_and_a_preset_that_exist(page):
    commands = COMMAND.findall(PAGES[page])
    assert {command.split()[1] for command in commands} <= {*VERBS, "VERB"}
    presets = {each.name for each in PRESETS}
    for command in commands:
        words = command.split("#")[0].split()
        if words[1] == "train" and len(words) > 2 and words[2][0].islower():
            assert words[2] in presets, command


def test_the_readme_is_short_and_shows_every_verb():
    assert len(TEXT.splitlines()) <= 120
    assert {command.split()[1] for command in COMMAND.findall(TEXT)} >= set(VERBS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


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


@pytest.mark.parametrize("page", PAGES)
def test_pictures_are_there_and_small(page):
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGES[page]):
        size = ((ROOT / page).parent / name).stat().st_size
        assert 1_000 < size < 300_000, name
