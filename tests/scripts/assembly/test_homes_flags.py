"""Flags of `eval`, `record` and `collect` that are for homes only."""

import importlib.util
import sys

import pytest

from embodia.envs.homes.options import HomesOptions
from embodia.scripts.commands import doctor
from embodia.scripts.commands.eval import Homes, Policy, resolve
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.evaluation import provenance
from embodia.tests.envs.homes.engines import fake_habitat_sim


def test_what_is_given_replaces_what_the_task_has():
    homes = Homes(episode_file="val.json.gz", scenes_dir="scenes", engine="habitat-sim")
    config, _ = resolve(Policy("expert", env="PointNav-v0", homes=homes))
    assert config.env.options == HomesOptions(episodes="val.json.gz", scenes_dir="scenes", engine="habitat-sim")


def test_a_grid_has_no_scenes():
    with pytest.raises(Mistake, match=r"--scenes-dir: only for homes"):
        resolve(Policy("expert", env="MiniGrid-DoorKey-8x8-v0", homes=Homes(scenes_dir="scenes")))


@pytest.mark.skipif(importlib.util.find_spec("habitat_sim") is not None, reason="habitat_sim is installed here")
def test_habitat_sim_that_is_not_installed_is_one_line(capsys):
    assert main(["eval", "random", "--env", "PointNav-v0", "--engine", "habitat-sim", "--episodes", "1"]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "compiled for this Python with numpy 2.0 to 2.3" in said


def test_reports_and_doctor_name_the_version_of_habitat_sim(monkeypatch):
    """0.3.4 calls itself 0.3.3."""
    monkeypatch.setitem(sys.modules, "habitat_sim", fake_habitat_sim)
    config, _ = resolve(Policy("random", env="PointNav-v0", homes=Homes(engine="habitat-sim")))
    said = "habitat-sim 0.3.4, steps without sliding as in 0.3.3"
    assert provenance(config)["versions"]["habitat_sim"] == said
    assert doctor.habitat_sim().says.startswith(said)
    fake_habitat_sim.as_0_3_3(monkeypatch)
    assert doctor.habitat_sim().says.startswith("habitat-sim 0.3.3; enables")
    config, _ = resolve(Policy("random", env="PointNav-v0"))
    assert "habitat_sim" not in provenance(config)["versions"]
