"""Rows and episode files: exact round trips, no overwriting, one clear error for a damaged file."""

import json
import zipfile

import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.references.random import Random
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.rows import (
    EpisodeError,
    EpisodeWriter,
    NonFinite,
    check_finite,
    concatenate,
    episode_files,
    flatten,
    index,
    read_episode,
    read_episodes,
    stack,
    to_torch,
    unflatten,
)
from embodia.agents.training.spaces import Incompatible, check_batch, difference, space_from_json, space_to_json
from embodia.envs.vector import SyncVector
from embodia.tests.fakes import CountingEnv, EverySpaceEnv


def test_trees():
    rows = [{"a": np.full(2, t), "b": {"c": np.zeros((2, 3))}} for t in range(4)]
    joined = stack(rows)
    assert joined["a"].shape == (4, 2)
    assert joined["b"]["c"].shape == (4, 2, 3)
    np.testing.assert_array_equal(index(joined, (slice(None), 1))["a"], [0, 1, 2, 3])
    assert concatenate(rows)["a"].shape == (8,)
    assert to_torch(joined)["a"].tolist() == joined["a"].tolist()


def test_flatten_and_back():
    tree = {"obs": {"image": 1, "nested": {"deep": {"er": 2}, "a": 3}}, "reward": 4}
    assert flatten(tree) == {"obs/image": 1, "obs/nested/deep/er": 2, "obs/nested/a": 3, "reward": 4}
    assert unflatten(flatten(tree)) == tree


# Episodes


def record(folder, seeds=(3, 4), env=CountingEnv, **header):
    """Episodes of a random agent, collected as `embodia collect` does."""
    vector = SyncVector([env] * 2)
    agent = Random(vector.single_observation_space, vector.single_action_space)
    writer = EpisodeWriter(folder, "embodia/Fake-v0", agent.observation_space, agent.action_space, **header)
    evaluate(agent, vector, seeds, lambda world, seed, row, info, frame: writer.add(row, world, seed))
    return writer


def test_episodes_come_back_as_they_were(tmp_path):
    record(tmp_path, seeds=(3, 4, 5), split="test")
    episodes = list(read_episodes(tmp_path))
    assert sorted(episode.seed for episode in episodes) == [3, 4, 5]
    for episode in episodes:
        assert episode.env_id == "embodia/Fake-v0"
        assert episode.header["split"] == "test"
        assert len(episode) == 6
        assert episode.observation_space == CountingEnv().observation_space
        assert episode.action_space == spaces.Discrete(3)
        np.testing.assert_array_equal(episode.rows["obs"]["count"][:, 0], range(6))
        np.testing.assert_array_equal(episode.rows["reward"], np.arange(6, dtype=np.float32))
        np.testing.assert_array_equal(episode.rows["last"], [0, 0, 0, 0, 0, 1])
        assert episode.rows["terminal"][-1] == (episode.seed % 2 == 0)


def test_rows_of_n_worlds_are_sorted_into_episodes_and_torn_ones_left_out(tmp_path):
    env = SyncVector([CountingEnv] * 2)
    writer = EpisodeWriter(tmp_path, "x", env.single_observation_space, env.single_action_space)
    flags = [[0, 1], [0, 0], [1, 0], [0, 0], [0, 1]]  # the first row of environment 0 is inside an episode
    lasts = [[0, 0], [1, 0], [0, 0], [1, 0], [0, 0]]
    for t, (first, last) in enumerate(zip(flags, lasts)):
        writer.add_rows(
            {
                "obs": {"count": np.full((2, 1), t, np.float32), "seed": np.zeros((2, 1), np.int64)},
                "reward": np.zeros(2, np.float32),
                "first": np.array(first, bool),
                "last": np.array(last, bool),
                "terminal": np.array(last, bool),
                "action": np.zeros(2, np.int64),
                "extras": {},
            }
        )
    (episode,) = read_episodes(tmp_path)
    np.testing.assert_array_equal(episode.rows["obs"]["count"][:, 0], [2, 3])


def test_every_kind_of_space_survives(tmp_path):
    every = EverySpaceEnv().observation_space
    fixed = {key: space for key, space in every.items() if key not in ("pair",)}
    for space in (spaces.Dict(fixed), every["pair"], spaces.Discrete(3, start=5), spaces.Box(-np.inf, np.inf, (2, 2))):
        assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space
    with pytest.raises(TypeError, match="Text has no fixed shape"):
        space_to_json(spaces.Text(5))
    with pytest.raises(ValueError, match="is not a space"):
        space_from_json({"type": "Graph"})


def test_nothing_is_overwritten(tmp_path):
    record(tmp_path)
    before = {path: path.read_bytes() for path in episode_files(tmp_path)}
    record(tmp_path)
    assert len(episode_files(tmp_path)) == 4
    assert all(path.read_bytes() == data for path, data in before.items())
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_only_whole_episodes_of_numbers_are_written(tmp_path):
    writer = record(tmp_path)
    rows = read_episode(episode_files(tmp_path)[0]).rows
    with pytest.raises(EpisodeError, match="must begin with `first` and end with"):
        writer.write(index(rows, slice(1, None)))
    with pytest.raises(EpisodeError, match="extras/note holds Python objects"):
        writer.write({**rows, "extras": {"note": np.array([None] * 6)}})
    assert len(episode_files(tmp_path)) == 2
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def rewrite(path, **changes):
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    members.update(changes)
    np.savez_compressed(path, **{name: value for name, value in members.items() if value is not None})


def header_of(path, **changes):
    with np.load(path) as archive:
        header = json.loads(archive["header"].tobytes())
    return np.frombuffer(json.dumps({**header, **changes}).encode(), np.uint8)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:200]), "file: truncated or corrupt"),
        (lambda p: p.write_bytes(b""), "file: truncated or corrupt"),
        (lambda p: p.write_bytes(b"not an archive"), "file: truncated or corrupt"),
        (lambda p: rewrite(p, header=None), "header: truncated or corrupt"),
        (lambda p: rewrite(p, header=np.zeros(3, np.uint8)), "header: truncated or corrupt"),
        (lambda p: rewrite(p, header=header_of(p, format=99)), "format 99, but this version reads format 1"),
        (lambda p: rewrite(p, header=header_of(p, action_space={})), "header: 'type' is missing"),
        (lambda p: rewrite(p, reward=None), "reward: missing"),
        (lambda p: rewrite(p, reward=np.zeros(2)), "reward: 2 rows, but the header says 6"),
        (lambda p: rewrite(p, last=np.ones(6, bool)), "first/last: the rows are not exactly one episode"),
        (
            lambda p: rewrite(p, **{"obs/count": np.zeros((6, 2), np.float32)}),
            r"obs/count: shape \(2,\), but the space",
        ),
        (
            lambda p: rewrite(p, **{"obs/count": np.zeros((6, 1), np.int8)}),
            "obs/count: int8, but the space says float32",
        ),
        (lambda p: rewrite(p, **{"obs/count": None}), "obs/count: missing"),
    ],
)
def test_a_broken_file_is_one_error_with_file_and_field(tmp_path, spoil, said):
    record(tmp_path)
    path = episode_files(tmp_path)[0]
    spoil(path)
    with pytest.raises(EpisodeError, match=said) as caught:
        list(read_episodes(tmp_path))
    assert str(path) in str(caught.value)


def test_a_flipped_bit_is_noticed_and_its_field_named(tmp_path):
    record(tmp_path)
    path = episode_files(tmp_path)[0]
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("obs/seed.npy")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len("obs/seed.npy") + info.compress_size // 2 + 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="obs/seed: truncated or corrupt"):
        read_episode(path)


def test_an_empty_folder_and_a_missing_file(tmp_path):
    with pytest.raises(EpisodeError, match=r"no episode-\*\.npz here"):
        list(read_episodes(tmp_path))
    with pytest.raises(FileNotFoundError):
        read_episode(tmp_path / "episode-000000.npz")


# Checks


def test_check_finite_names_field_and_world():
    obs = {"image": np.zeros((3, 2), np.uint8), "deep": {"depth": np.array([[1.0], [np.inf], [np.nan]])}}
    with pytest.raises(NonFinite, match='"depth" is NaN in world 2'):
        check_finite(obs, np.zeros(3), lambda world: f"world {world}")
    with pytest.raises(NonFinite, match="reward is inf in world 1"):
        check_finite({}, np.array([0, np.inf]), lambda world: f"world {world}")
    check_finite({"unbounded": np.array([np.inf])}, np.zeros(1), str)


def test_differences_are_named():
    ours = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)})
    assert difference(ours, ours, "obs") is None
    assert difference(ours, spaces.Dict({"a": spaces.Discrete(2)}), "obs") == "obs/b is not in the checkpoint"
    assert (
        difference(spaces.Dict({"a": spaces.Discrete(2)}), ours, "obs")
        == "obs/b is in the checkpoint, but missing here"
    )
    other = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Discrete(2)})
    assert difference(ours, other, "obs") == "obs/a is Discrete(2) here, but Discrete(3) in the checkpoint"
    with pytest.raises(Incompatible, match="obs/b: missing"):
        check_batch({"a": np.zeros(1, int)}, ours, "obs")
