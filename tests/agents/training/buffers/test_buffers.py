"""Buffers: advantages, valid samples, and states that restore the same batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodia.agents.training.buffers.dataset import DatasetBuffer
from embodia.agents.training.buffers.no_buffer import NoBuffer
from embodia.agents.training.buffers.replay import ReplayBuffer
from embodia.agents.training.buffers.rollout import RolloutBuffer, advantages
from embodia.agents.training.rows import stack
from embodia.agents.training.serialization import decode, encode
from embodia.planners.trees import index

# Rows of n environments; every entry encodes its environment, episode and step.


def rows(lengths, total, worlds=2, terminal=True):
    """`total` rows of environments whose episodes have these numbers of actions, in a different order for each."""
    made = []
    clocks = []
    for world in range(worlds):
        clock, episode = [], world
        while len(clock) < total:
            length = lengths[episode % len(lengths)]
            clock += [(episode, step, length) for step in range(length + 1)]
            episode += worlds
        clocks.append(clock[:total])
    for t in range(total):
        now = [clock[t] for clock in clocks]
        episode, step, length = (np.array(column) for column in zip(*now))
        last = step == length
        made.append(
            {
                "obs": {"id": np.stack([np.arange(worlds), episode, step], 1), "unused": np.zeros((worlds, 2))},
                "reward": np.where(step == 0, 0, episode + step / 10).astype(np.float32),
                "first": step == 0,
                "last": last,
                "terminal": last & terminal,
                "action": 100 * episode + step,
                "extras": {"value": np.sin(episode + step).astype(np.float32)},
            }
        )
    return made


def add(buffer, more):
    return [batch for row in more for batch in (buffer.add(row), *buffer.batches()) if batch is not None]


def by_hand(reward, value, last, terminal, gamma, lam):
    """GAE from its definition: a double sum over the future, episode by episode."""
    steps, worlds = len(reward) - 1, reward.shape[1]
    result = np.zeros((steps, worlds))
    for world in range(worlds):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                if last[k, world]:
                    break
                bootstrap = 0 if terminal[k + 1, world] else gamma * value[k + 1, world]
                result[t, world] += weight * (reward[k + 1, world] + bootstrap - value[k, world])
                weight *= gamma * lam
    return result


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_the_definition(lengths, terminal, gamma, lam):
    joined = stack(rows(lengths, 12, worlds=3, terminal=terminal))
    parts = joined["reward"], joined["extras"]["value"], joined["last"], joined["terminal"], gamma, lam
    advantage, returns = advantages(*parts)
    np.testing.assert_allclose(advantage, by_hand(*parts), atol=1e-5)
    np.testing.assert_allclose(returns, by_hand(*parts) + joined["extras"]["value"][:-1], atol=1e-5)


def test_truncation_bootstraps_from_its_own_last_row_and_termination_from_nothing():
    reward, value = np.array([[0.0], [1.0], [0.0]]), np.array([[0.0], [7.0], [5.0]])
    last = np.array([[False], [True], [False]])
    truncated, _ = advantages(reward, value, last, np.zeros((3, 1), bool), 0.5, 0.9)
    terminated, _ = advantages(reward, value, last, last, 0.5, 0.9)
    np.testing.assert_allclose(truncated[:, 0], [1 + 0.5 * 7, 0])
    np.testing.assert_allclose(terminated[:, 0], [1, 0])


def test_rollouts_tile_the_stream_of_rows():
    stream = rows([3, 5], 22)
    buffer = RolloutBuffer(7, 0.99, 0.95, keys=["id"])
    batches = add(buffer, stream)
    assert len(batches) == 3  # rows 0-7, 7-14, 14-21
    actions = np.concatenate([batch["action"] for batch in batches])
    np.testing.assert_array_equal(actions, [row["action"] for row in stream[:21]])
    joined = stack(stream)
    whole, _ = advantages(joined["reward"][:8], joined["extras"]["value"][:8], joined["last"][:8],
                          joined["terminal"][:8], 0.99, 0.95)  # fmt: skip
    np.testing.assert_array_equal(batches[0]["advantage"], whole)
    assert set(batches[0]["obs"]) == {"id"}
    np.testing.assert_array_equal(batches[0]["valid"], ~batches[0]["last"])


def test_replayed_transitions_are_real_ones_and_all_of_them_are_seen():
    buffer = ReplayBuffer(40, 64, keys=["id"])
    add(buffer, rows([2, 4], 53))
    seen = set()
    for _ in range(30):
        batch = buffer.sample()
        world, episode, step = batch["obs"]["id"].T
        world_after, episode_after, step_after = batch["next_obs"]["id"].T
        np.testing.assert_array_equal(world, world_after)
        np.testing.assert_array_equal(episode, episode_after)
        np.testing.assert_array_equal(step + 1, step_after)
        np.testing.assert_array_equal(batch["action"], 100 * episode + step)
        np.testing.assert_allclose(batch["reward"], episode + step_after / 10, rtol=1e-6)
        length = np.array([2, 4])[episode % 2]
        np.testing.assert_array_equal(batch["terminal"], step_after == length)
        seen |= set(zip(world.tolist(), episode.tolist(), step.tolist()))
    held = stack(rows([2, 4], 53)[-20:])
    real = {tuple(held["obs"]["id"][t, w]) for t in range(19) for w in range(2) if not held["last"][t, w]}
    assert seen == real


@pytest.mark.parametrize("cross", [True, False])
def test_sequences_are_consecutive_rows_of_one_world(cross):
    buffer = ReplayBuffer(60, 128, length=4, cross_episodes=cross)
    stream = rows([6, 3], 47)
    add(buffer, stream)
    batch = buffer.sample()
    assert batch["reward"].shape == (4, 128)
    positions = {tuple(row["obs"]["id"][w]): t for t, row in enumerate(stream) for w in range(2)}
    place = np.array([[positions[tuple(key)] for key in piece] for piece in batch["obs"]["id"]])
    np.testing.assert_array_equal(np.diff(place, axis=0), 1)
    assert (batch["obs"]["id"][:, :, 0] == batch["obs"]["id"][0, :, 0]).all()
    assert batch["first"][1:].any() == cross


def test_replay_says_when_and_refuses_what_it_cannot_give():
    buffer = ReplayBuffer(100, 4, learning_starts=10, every=3, updates=2)
    due = [t for t, row in enumerate(rows([9], 30), 1) if (buffer.add(row), list(buffer.batches()))[1]]
    assert due == list(range(6, 31, 3))
    assert len(buffer) == 60
    with pytest.raises(ValueError, match="length is 0; a sequence needs"):
        ReplayBuffer(10, 1, length=0)
    with pytest.raises(ValueError, match="capacity 4 is only 2 rows of each of 2 environments"):
        ReplayBuffer(4, 1, length=3).add(rows([3], 1)[0])
    short = ReplayBuffer(100, 4, length=6, cross_episodes=False)
    for row in rows([3], 40):
        short.add(row)
    with pytest.raises(ValueError, match="use shorter sequences"):
        short.sample()


def test_a_data_set_is_gone_through_in_epochs_without_last_rows():
    buffer = DatasetBuffer(8, seed=1, every=1000)
    add(buffer, rows([2, 4, 3], 25))
    held = sum(len(episode["reward"]) - 1 for episode in buffer.episodes)
    seen = [action for batch in buffer.epoch() for action in batch["action"].tolist()]
    assert len(seen) == len(set(seen)) == held
    assert not any(batch["last"].any() for batch in buffer.epoch())
    sampled = np.concatenate([buffer.sample()["action"] for _ in range(held)])
    assert set(np.unique(sampled, return_counts=True)[1]) == {8}, "every row once per epoch"


def test_pieces_of_episodes_are_masked_behind_their_end():
    buffer = DatasetBuffer(64, length=4)
    buffer.extend(stack([index(row, 0) for row in rows([n], n + 1, worlds=1)]) for n in (2, 9))
    batch = next(buffer.epoch())
    assert batch["mask"].shape == (4, 4)  # one sequence of the short episode, three of the long one (4 + 4 + 1 actions)
    assert batch["mask"].sum() == 2 + 9
    steps = batch["obs"]["id"][:, :, 2]
    assert sorted(steps[batch["mask"]].tolist()) == sorted([0, 1, *range(9)])
    assert batch["first"][0].sum() == 2


def test_episodes_of_different_keys_do_not_mix():
    buffer = DatasetBuffer(4)
    add(buffer, rows([2], 6))
    with pytest.raises(ValueError, match=r"\['extras/value'\] are in some episodes but not in others"):
        buffer.extend([{**buffer.episodes[0], "extras": {}}])


def test_the_oldest_episodes_go_first():
    buffer = DatasetBuffer(4, capacity=12, every=5)
    stream = rows([3], 40)
    batches = add(buffer, stream)
    assert len(buffer) <= 12
    assert min(episode["obs"]["id"][0, 1] for episode in buffer.episodes) > 10
    assert len(batches) == 8
    with pytest.raises(ValueError, match="the data set is empty"):
        DatasetBuffer(4).sample()


MAKERS = {
    "rollout": lambda: RolloutBuffer(5, 0.9, 0.8),
    "replay": lambda: ReplayBuffer(24, 3),
    "sequences": lambda: ReplayBuffer(24, 3, length=3),
    "dataset": lambda: DatasetBuffer(3),
    "pieces": lambda: DatasetBuffer(3, length=2, capacity=20),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kept", [0, 3, 11, 31])
def test_state_gives_back_the_same_batches(name, kept):
    stream = rows([2, 4], 50)
    buffer, again = MAKERS[name](), MAKERS[name]()
    add(buffer, stream[:kept])
    again.load_state_dict(decode(encode(buffer.state_dict())))
    expected, found = add(buffer, stream[kept:]), add(again, stream[kept:])
    assert len(expected) >= 3
    np.testing.assert_equal(found, expected)


def test_no_buffer_keeps_nothing():
    buffer = NoBuffer()
    assert add(buffer, rows([3], 4)) == []
    buffer.load_state_dict(buffer.state_dict())
