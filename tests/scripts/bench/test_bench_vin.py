"""The bench of value iteration networks: its rows, its measures, and each kind of part at a tiny size."""

import json

import numpy as np
import pytest
import torch

from embodia.envs.control.grid_world import RECIPES, grid_worlds
from embodia.planners.search.map_policy import MapPolicy
from embodia.scripts.bench.generative.training import Budget
from embodia.scripts.bench.harness.options import Vin
from embodia.scripts.bench.planning import vin
from embodia.scripts.bench.planning.vin_data import MapBatches, Mover, trace
from embodia.scripts.mistake import Mistake


class Expert(MapPolicy):
    """The expert's moves as a policy."""

    def __init__(self, worlds):
        super().__init__(2)
        self.table = torch.nn.functional.one_hot(torch.from_numpy(worlds.move).long().clamp(min=0), 8).float()

    def forward(self, maps):
        return self.table.view(len(maps), *maps.shape[2:], 8)


class Line(dict):
    """A line of results that knows every number."""

    def __missing__(self, name):
        return [0.25, 0.75]


def test_the_expert_has_perfect_scores():
    worlds = grid_worlds(RECIPES[8], 12)
    found = vin.judged(Expert(worlds), worlds)
    assert found == {"success": [1.0] * 12, "path difference": [0.0] * 12, "prediction error": [0.0] * 12}
    path = trace(worlds, Mover(Expert(worlds), worlds))
    assert (path[:, 0] == worlds.start[:, 0]).all()
    assert (path[:, -1] == worlds.goal).all()


def test_batches_hold_whole_paths_and_epochs_every_map():
    worlds = grid_worlds(RECIPES[8], 6)
    data, same = MapBatches(worlds), MapBatches(worlds)
    first = data.batch(3)
    state = data.state_dict()
    second = data.batch(3)
    assert len(first["state"]) + len(second["state"]) == len(worlds.walk.cell)
    assert len({each.numpy().tobytes() for part in (first, second) for each in part["maps"]}) == 6
    same.load_state_dict(state)
    assert torch.equal(same.batch(3)["maps"], second["maps"])


def test_the_rows_are_those_that_are_asked_for():
    lines = {name: [Line(cpu_minutes=1.0), Line(cpu_minutes=2.0)] for name in vin.PARTS}
    found = {(row.name, row.unit): row for row in vin.rows(lines)}
    asked = ("vin 8x8", "vin 16x16", "vin 28x28", "vin 16x16 20 %", "vin 16x16 50 %", "vin 8x8 on 16x16")
    assert {(name, "success") for name in asked} <= set(found)
    row = found["vin 16x16 20 %", "success"]
    assert (row.paper, row.cpu_minutes, row.controls[0].name, row.controls[0].paper) == (0.982, 3.0, "untied", 0.919)
    assert {each.name for each in found["vin 8x8", "path difference"].controls} >= {"CNN", "FCN"}
    only = {"16x16 20 % vin": lines["16x16 20 % vin"]}
    assert {row.name for row in vin.rows(only)} == {"vin 16x16 20 %"}


@pytest.mark.parametrize("part", ["8x8 vin", "8x8 cnn", "8x8 fcn", "16x16 20 % untied", "8x8 reinforce"])
def test_a_part_runs_at_a_tiny_size(part, tmp_path):
    numbers = vin.PARTS[part](0, Budget(True, tmp_path))
    assert all(np.isfinite(value).all() for value in numbers.values())


def test_finished_parts_are_kept_and_pictures_are_drawn(tmp_path):
    options = Vin(seeds=1, smoke=True, out=tmp_path, only=("8x8 vin", "8x8 cnn", "8x8 fcn"))
    rows = vin.measure(options)
    lines = (tmp_path / "smoke" / "lines.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"8x8 {name}, seed 0" for name in ("vin", "cnn", "fcn")]
    assert vin.measure(options) == rows
    assert (tmp_path / "smoke" / "vin-larger-maps.png").stat().st_size > 5000


def test_an_unknown_part_is_named(tmp_path):
    with pytest.raises(Mistake, match="--only 9x9 names no part of the bench; choose from 8x8 vin"):
        vin.measure(Vin(only=("9x9",), out=tmp_path))
