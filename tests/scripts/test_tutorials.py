"""The tutorials of the documentation: each runs from top to bottom with a tiny budget."""

import re
import sys

import gymnasium as gym
import pytest

from embodia.tests.readme import ROOT

TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.py"))
TINY = {
    r"^STEPS = .*": "STEPS = 300",
    r"^EPISODES = .*": "EPISODES = 2",
    r"^EPISODES, UPDATES = .*": "EPISODES, UPDATES = 3, 20",
    r"^EPISODES, UPDATES, STEPS = .*": "EPISODES, UPDATES, STEPS = 2, 2, 60",
    r"--evaluation\.episodes (\d+|\{EPISODES\})": "--evaluation.episodes 2 --evaluation.during 2 --evaluation.films 1",
    r"(--evaluation\.\w+ \d+ )+--out runs/(\w+)": r"--evaluation.episodes 2 --evaluation.films 1 --out runs/\2",
    r"--steps (\{STEPS\}|1000) --out": "--steps 300 --evaluation.episodes 2 --out",
    r"train (ppo-empty|dagger-doorkey|bc-doorkey|dreamer-empty) (?!--env)": r"train \1 --env.options.max-steps 20 ",
    r"train bc-objectnav": "train bc-objectnav --env.options.max-steps 20 --env.options.num-scenes 2",
    r"--env bc-objectnav": "--env bc-objectnav --num-scenes 2",
    r"--films 1 ": "--films 0 ",
    r"observation=\"symbolic_full\"": 'observation="symbolic_full", max_steps=20',
    r"episodes=20": "episodes=2",
    r"--homes 4 --walks 2": "--homes 2 --walks 1 --steps 5",
}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path, monkeypatch):
    code = path.read_text()
    for long, short in TINY.items():
        code = re.sub(long, short, code, flags=re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules = set(sys.modules)
    try:
        exec(compile(code, str(path), "exec"), {"__name__": "tutorial"})
    finally:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        gym.registry.pop("Lights-v0", None)
    assert list(tmp_path.rglob("report.html")) or list(tmp_path.rglob("*.mp4"))


def test_there_are_tutorials_of_everything_that_is_promised():
    assert [path.stem for path in TUTORIALS] == [
        "1_first_agent",
        "2_your_own",
        "3_home_from_a_file",
        "4_nuplan_logs",
        "5_pretrain_and_probe",
        "6_imagine_and_plan",
        "7_from_python",
        "8_offline",
    ]
