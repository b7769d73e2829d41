"""Typos are answered before torch is imported, by lists that equal the tables."""

import subprocess
import sys

import pytest

from embodia.agents.references.untrained import Untrained
from embodia.scripts.assembly.kinds import AGENT
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets import table, typos


def test_the_lists_are_the_tables():
    assert [each.name for each in table.PRESETS] == list(typos.PRESETS)
    untrained = [name for name in AGENT.table if issubclass(AGENT.made(name), Untrained)]
    assert untrained == list(typos.UNTRAINED)


TYPOS = {
    ("train", "ppo-emtpy"): "unknown preset ppo-emtpy. Did you mean ppo-empty",
    ("eval", "dagger-dorkey"): "dagger-dorkey is not a run",
    ("record", "rundom", "--env", "MiniGrid-Empty-5x5-v0"): "Did you mean random",
    ("eval", "random", "--env", "MiniGrid-Emty-5x5-v0"): "Did you mean MiniGrid-Empty-5x5-v0",
    ("train", "ppo-empty", "--env.id", "PointNaf-v0"): "Did you mean PointNav-v0",
}


@pytest.mark.parametrize("arguments", TYPOS, ids=" ".join)
def test_typos_are_named(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=TYPOS[arguments]):
        typos.check(arguments[0], arguments[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "ppo-empty", "--env.id", "MiniGrid-DoorKey-5x5-v0"),
        ("train", "--resume", "runs/anything"),
        ("eval", "random", "--env", "embodia:embodia/PointNav-v0"),
        ("eval", "expert", "--env", "dagger-doorkey"),
        ("eval", "corridor:Policy", "--env", "corridor:Corridor-v0"),
        ("eval", "elsewhere", "--runs", "there"),
        ("list", "whatever"),
    ],
)
def test_right_names_pass(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typos.check(arguments[0], arguments[1:])


def test_a_typo_is_answered_without_torch():
    code = "import sys; from embodia.scripts.main import main; assert main(['train', 'ppo-emtpy']) == 2; "
    code += "assert main(['eval', 'random', '--env', 'Nothing-v0']) == 2; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
