"""Checkpoints: exact, self-describing, written atomically."""

import errno
import io
import json
import os
import random

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from embodia.agents.references.random import Random
from embodia.agents.training import checkpoint
from embodia.agents.training.checkpoint import CheckpointError
from embodia.agents.training.rng import rng_state, seed_all, set_rng_state
from embodia.agents.training.serialization import decode, encode
from embodia.agents.training.weights import load_weights, save_weights
from embodia.planners.trees import object_array

AGENT = Random(spaces.Dict({"x": spaces.Box(0, 1, (2,))}), spaces.Discrete(2))

plain = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    plain | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(-9, 9), inner)
        | st.tuples(inner, inner)
        | st.tuples(inner)
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(trees)
def test_plain_values_come_back_as_they_were(tree):
    def types(value):
        if isinstance(value, dict):
            return {key: types(item) for key, item in value.items()}
        return [type(value), *map(types, value)] if isinstance(value, list | tuple) else type(value)

    again = decode(encode(tree))
    assert again == tree
    assert types(again) == types(tree)


def test_arrays_tensors_and_generators_go_through_a_weights_only_file(tmp_path):
    generator = np.random.default_rng(3)
    state = {
        "arrays": [np.arange(6).reshape(2, 3)[:, ::2], np.array("text"), np.zeros((0, 3)), np.array(7, np.uint16)],
        "scalars": (np.float64(1 / 3), np.bool_(True), np.int8(-3)),
        "snapshots": object_array([{"place": np.ones(2)}, None, [1, 2]]),
        "special": np.array([np.nan, -0.0, np.inf]),
        "tensor": torch.arange(4.0)[1:3],
        "rng": generator.bit_generator.state,
        "all": rng_state(),
    }
    torch.save(encode(state), tmp_path / "state.pt")
    again = decode(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again["snapshots"].dtype == object
    np.testing.assert_equal(list(again["snapshots"]), list(state["snapshots"]))
    np.testing.assert_equal(again["arrays"], state["arrays"])
    assert [(a.dtype, a.shape) for a in again["arrays"]] == [(a.dtype, a.shape) for a in state["arrays"]]
    assert again["scalars"] == state["scalars"]
    assert [type(x) for x in again["scalars"]] == [type(x) for x in state["scalars"]]
    assert again["special"].tobytes() == state["special"].tobytes()
    assert torch.equal(again["tensor"], state["tensor"])
    fresh = np.random.default_rng(0)
    fresh.bit_generator.state = again["rng"]
    assert fresh.random() == generator.random()
    drawn = (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002
    seed_all(5)
    set_rng_state(again["all"])
    assert (random.random(), np.random.random(), torch.rand(1).item()) == drawn  # noqa: NPY002


def test_a_view_is_saved_without_what_it_views(tmp_path):
    torch.save(encode({"x": torch.zeros(100_000)[:1]}), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 10_000


def test_what_is_not_plain_is_named():
    with pytest.raises(TypeError, match="state/agent/0 is a Random"):
        encode({"agent": [AGENT]})
    with pytest.raises(TypeError, match="state/x/1 is a Random"):
        encode({"x": np.array([None, AGENT])})


def test_a_checkpoint_explains_itself(tmp_path):
    path = checkpoint.save(tmp_path, 100_000, AGENT, {"n": 1}, {"score": 0.5, "config": {"preset": "x"}})
    assert path.name == "000100000"
    assert sorted(file.name for file in path.iterdir()) == ["agent.safetensors", "meta.json", "training.pt"]
    meta = json.loads((path / "meta.json").read_text())
    assert (meta["step"], meta["agent"], meta["score"], meta["config"]) == (100_000, "Random", 0.5, {"preset": "x"})
    assert {"python", "torch", "numpy"} <= set(meta["versions"])
    assert set(meta["files"]) == {"agent.safetensors", "training.pt"}
    assert checkpoint.load(path).training() == {"n": 1}
    checkpoint.check_fits(checkpoint.load(path), AGENT)
    assert checkpoint.save(tmp_path, 100_000, AGENT, {"n": 2}) == path, "the same step is written anew"
    assert checkpoint.load(path).training() == {"n": 2}


@pytest.mark.parametrize("name", ["training.pt", "agent.safetensors", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "missing", "flipped"])
def test_a_half_written_checkpoint_is_never_taken_for_a_whole_one(tmp_path, name, how):
    good = checkpoint.save(tmp_path, 1, AGENT, {"n": 1})
    bad = checkpoint.save(tmp_path, 2, AGENT, {"n": 2})
    file = bad / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": data}[how])
    if (name, how) == ("meta.json", "flipped"):
        file.write_text("{}")
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load(bad)
    with pytest.warns(UserWarning, match="skipped"):
        assert checkpoint.latest(tmp_path) == good


def test_another_version_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, 1, AGENT, {})
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99, but this version reads format 1"):
        checkpoint.load(path)


def test_an_unreadable_training_file_is_named(tmp_path):
    path = checkpoint.save(tmp_path, 1, AGENT, {})
    opened = checkpoint.load(path)
    (path / "training.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"training\.pt: cannot be read"):
        opened.training()


class Full(io.FileIO):
    """A file on a disk that is almost full."""

    def write(self, data):
        if self.tell() > 1_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_is_reported_and_the_last_good_checkpoint_survives(tmp_path, monkeypatch):
    good = checkpoint.save(tmp_path, 1, AGENT, {"n": 1})
    monkeypatch.setattr(io, "FileIO", Full)
    said = r"No space left on device.*MiB free.*newest intact checkpoint is .*000000001"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.save(tmp_path, 2, AGENT, {"n": np.zeros(1_000_000)})
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"], "nothing of the attempt remains"
    assert checkpoint.load(good).training() == {"n": 1}


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    left = tmp_path / ".aside-123"
    left.mkdir()
    (left / "training.pt").write_bytes(b"half")
    checkpoint.save(tmp_path, 1, AGENT, {})
    assert not left.exists()


def test_best_and_prune(tmp_path):
    for step, score in enumerate([0.2, 0.8, None, 0.5, None], 1):
        checkpoint.save(tmp_path, step, AGENT, {}, {"score": score})
    assert checkpoint.best(tmp_path).name == "000000002"
    checkpoint.prune(tmp_path, 2)
    assert [int(path.name) for path in checkpoint.list_steps(tmp_path)] == [2, 4, 5]
    checkpoint.prune(tmp_path, 0)
    assert len(checkpoint.list_steps(tmp_path)) == 3
    assert checkpoint.best(tmp_path / "nowhere") is None
    assert checkpoint.latest(tmp_path / "nowhere") is None


class Shared(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.a = nn.Linear(2, width)
        self.b = self.a
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


def test_weights_with_two_names_are_written_once_and_come_back(tmp_path):
    ours, theirs = Shared(), Shared()
    with torch.no_grad():
        ours.norm.running_mean.fill_(3)
    save_weights(ours, tmp_path / "w")
    load_weights(theirs, tmp_path / "w")
    for (name, tensor), (_, other) in zip(ours.state_dict().items(), theirs.state_dict().items()):
        assert torch.equal(tensor, other), name
    assert theirs.b is theirs.a


def test_weights_of_another_build_are_named(tmp_path):
    save_weights(Shared(), tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"a\.bias: \(3,\) in the file, \(4,\) in this agent"):
        load_weights(Shared(4), tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"a\.bias: not in this agent"):
        load_weights(nn.Identity(), tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"0\.bias: missing in the file"):
        load_weights(nn.Sequential(nn.Linear(2, 2), Shared()), tmp_path / "w")
    (tmp_path / "w").write_bytes(b"xx")
    with pytest.raises(CheckpointError, match="truncated or corrupt"):
        load_weights(Shared(), tmp_path / "w")


def damage(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_checkpoint_never_costs_an_intact_one(tmp_path):
    for step, score in ((1, 0.2), (2, 0.9), (3, None)):
        checkpoint.save(tmp_path, step, AGENT, {}, {"score": score})
    for step in (2, 3):
        damage(tmp_path / f"{step:09d}" / "training.pt")
    with pytest.warns(UserWarning, match=r"renamed to 000000003\.damaged"):
        checkpoint.prune(tmp_path, 1)
    assert [path.name for path in checkpoint.list_steps(tmp_path)] == ["000000001"], "the last one that is whole"
    assert {path.name for path in tmp_path.glob("*.damaged")} == {"000000002.damaged", "000000003.damaged"}
    assert checkpoint.latest(tmp_path) == checkpoint.best(tmp_path) == tmp_path / "000000001"
    checkpoint.save(tmp_path, 3, AGENT, {})
    damage(tmp_path / "000000003" / "training.pt")
    with pytest.warns(UserWarning, match="damaged-2"):
        checkpoint.prune(tmp_path, 1)


def test_the_best_checkpoint_is_intact(tmp_path):
    for step, score in ((1, 0.2), (2, 0.9)):
        checkpoint.save(tmp_path, step, AGENT, {}, {"score": score})
    damage(tmp_path / "000000002" / "agent.safetensors")
    with pytest.warns(UserWarning, match="skipped"):
        assert checkpoint.best(tmp_path) == tmp_path / "000000001"


def test_only_folders_named_by_a_step_are_checkpoints(tmp_path):
    path = checkpoint.save(tmp_path, 5, AGENT, {})
    (tmp_path / "000000009").write_text("a file")
    (tmp_path / "²").mkdir()
    assert checkpoint.list_steps(tmp_path) == [path]
    checkpoint.prune(tmp_path, keep=1)
    assert checkpoint.latest(tmp_path) == path


@pytest.mark.parametrize("about", [{"step": float("inf")}, {"format": 99, "versions": []}])
def test_numbers_and_versions_that_cannot_be_are_one_error(tmp_path, about):
    path = checkpoint.save(tmp_path, 5, AGENT, {}, about)
    with pytest.raises(CheckpointError, match=r"meta\.json"):
        checkpoint.load(path)
