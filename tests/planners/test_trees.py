"""Tests of nested dicts: leaves are arrays, tensors or arrays of objects, and one index selects from all of them."""

import subprocess
import sys

import numpy as np
import torch

from embodia.planners.models.state import batch_size, repeat
from embodia.planners.trees import index, object_array, tree_map

STATE = {"a": torch.arange(6.0).view(3, 2), "b": {"c": object_array([{"x": 1}, None, [2, 3]])}}


def test_one_index_serves_all_kinds_of_leaves():
    for which in (torch.tensor([2, 0]), torch.tensor([True, False, True]).nonzero()[:, 0].flip(0)):
        taken = index(STATE, which)
        assert taken["a"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
        assert taken["b"]["c"].tolist() == [[2, 3], {"x": 1}]
    assert index({"row": np.arange(3)}, -1) == {"row": 2}
    assert index(STATE, torch.tensor([1]))["b"]["c"].tolist() == [None], "one world is still a batch of worlds"


def test_repeat_lays_candidates_out_world_by_world():
    many = repeat(STATE, 2)
    assert batch_size(many) == 6
    assert many["a"][:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert many["b"]["c"].tolist() == [{"x": 1}, {"x": 1}, None, None, [2, 3], [2, 3]]


def test_corresponding_leaves_of_several_trees_meet():
    assert tree_map(lambda a, b: a - b, {"x": {"y": 3}}, {"x": {"y": 1}, "more": 0}) == {"x": {"y": 2}}


def test_rows_are_read_without_torch():
    program = "import sys, embodia.agents.training.rows, embodia.planners; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
