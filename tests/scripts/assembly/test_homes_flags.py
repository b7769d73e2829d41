"""Flags of `eval`, `record` and `collect` that are for homes only."""

import importlib.util

import pytest

from embodia.envs.homes.options import HomesOptions
from embodia.scripts.commands.eval import Homes, Policy, resolve
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake


def test_what_is_given_replaces_what_the_task_has():
    homes = Homes(episode_file="val.json.gz", scenes_dir="scenes", engine="habitat-sim")
    config, _ = resolve(Policy("expert", env="PointNav-v0", homes=homes))
    assert config.env.options == HomesOptions(episodes="val.json.gz", scenes_dir="scenes", engine="habitat-sim")


def test_a_grid_has_no_scenes():
    with pytest.raises(Mistake, match=r"--scenes-dir means something in homes only"):
        resolve(Policy("expert", env="MiniGrid-DoorKey-8x8-v0", homes=Homes(scenes_dir="scenes")))


@pytest.mark.skipif(importlib.util.find_spec("habitat_sim") is not None, reason="habitat_sim is installed here")
def test_habitat_sim_that_is_not_installed_is_one_line(capsys):
    assert main(["eval", "random", "--env", "PointNav-v0", "--engine", "habitat-sim", "--episodes", "1"]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "conda install" in said
