"""Batches of recorded rows: each sequence once per epoch, bounded memory, mixed data sets, exact resume."""

import numpy as np
import pytest

from embodia.agents import Pieces
from embodia.agents.training.recorded import RecordedBatches
from embodia.agents.training.rows import EpisodeError, flatten
from embodia.agents.training.serialization import decode, encode

LENGTHS = [7, 2, 12, 5, 9, 3, 8, 6]


class Made:
    """Episodes whose row t shows (episode, t) and whose action is 100 * episode + t; it counts its calls."""

    def __init__(self, lengths=LENGTHS, name="made", begin=0, advised=False):
        self.lengths, self.name, self.begin, self.advised = list(lengths), name, begin, advised
        self.reads = []

    def rows(self, number):
        self.reads.append(number)
        t, episode = np.arange(self.lengths[number]), self.begin + number
        action = 100 * episode + t
        return {
            "obs": {"at": np.stack([np.full_like(t, episode), t], 1)},
            "reward": t.astype(np.float32),
            "first": t == 0,
            "last": t == len(t) - 1,
            "terminal": (t == len(t) - 1) & (number % 2 == 0),
            "action": action,
            "extras": {"expert_action": -action} if self.advised else {},
        }


def epoch_of(data, n, epoch=0):
    """The batches of one epoch."""
    data.load_state_dict({"epoch": epoch, "group": 0, "drawn": 0, "rows": len(data)})
    batches = []
    while True:
        batch = data.batch(n)
        if data.epoch != epoch:
            return batches
        batches.append(batch)


def test_single_rows_come_once_an_epoch_and_none_is_last():
    data = RecordedBatches([Made()], Pieces(4), capacity=1000)
    found = np.concatenate([batch["action"] for batch in epoch_of(data, 1)])
    there = [100 * episode + t for episode, length in enumerate(LENGTHS) for t in range(length - 1)]
    assert sorted(found) == there
    assert list(found) != there, "shuffled"
    batch = data.batch(4)
    assert batch["obs"]["at"].shape == (4, 2)
    assert "mask" not in batch
    np.testing.assert_array_equal(batch["obs"]["at"] @ [100, 1], batch["action"], "rows stay together")
    assert not batch["last"].any()


def test_pieces_stay_in_their_episode_and_the_mask_ends_with_it():
    data = RecordedBatches([Made()], Pieces(3, length=4), capacity=1000)
    learned = []
    for batch in epoch_of(data, 1):
        assert batch["action"].shape == batch["mask"].shape == (4, 1)
        inside = batch["obs"]["at"][batch["mask"][:, 0], 0]
        assert (inside[:, 0] == inside[0, 0]).all()
        np.testing.assert_array_equal(inside[:, 1], inside[0, 1] + np.arange(len(inside)))
        assert not batch["last"][batch["mask"]].any()
        learned += batch["action"][batch["mask"]].tolist()
    assert sorted(learned) == [100 * episode + t for episode, length in enumerate(LENGTHS) for t in range(length - 1)]


def test_crossing_pieces_are_consecutive_rows_and_first_says_where_an_episode_begins():
    data = RecordedBatches([Made()], Pieces(2, length=6, crossing=True), capacity=1000)
    phases = set()
    for epoch in range(20):
        batches = epoch_of(data, 1, epoch)
        assert len(batches) in ((sum(LENGTHS) - 5) // 6, sum(LENGTHS) // 6)
        for batch in batches:
            at, first, last = batch["obs"]["at"][:, 0], batch["first"][:, 0], batch["last"][:, 0]
            np.testing.assert_array_equal(first[1:], last[:-1])
            np.testing.assert_array_equal(at[1:, 1], np.where(first[1:], 0, at[:-1, 1] + 1))
            assert ((at[1:, 0] == at[:-1, 0]) | first[1:]).all()
            np.testing.assert_array_equal(batch["mask"], ~batch["last"])
            phases.add(int(at[0, 1]))
    assert len(phases) > 6, "pieces begin elsewhere in every epoch"


@pytest.mark.parametrize("pieces", [Pieces(4), Pieces(4, length=3), Pieces(2, length=5, crossing=True)])
def test_memory_is_bounded_and_every_episode_is_read_once_an_epoch(pieces):
    made = Made([10] * 40)
    data = RecordedBatches([made], pieces, capacity=60)
    held = []
    for _ in range(300):
        data.batch(pieces.number)
        held.append(len(data._table["reward"]))
    assert max(held) <= 60, "a set of 400 rows in a memory of 60"
    assert max(held) > 45, "which is used"
    epochs = data.epoch
    assert epochs > 0
    read = np.bincount(made.reads[: 40 * epochs])
    assert (read == epochs).all(), "each group of an epoch is read once, whole epochs before the next"


def test_an_episode_longer_than_the_memory_is_held_alone():
    data = RecordedBatches([Made([50, 4, 4])], Pieces(4), capacity=10)
    seen = {int(a) // 100 for _ in range(40) for a in data.batch(4)["action"]}
    assert seen == {0, 1, 2}
    assert len(data._table["reward"]) <= 51


def test_what_fits_is_read_once():
    made = Made()
    data = RecordedBatches([made], Pieces(8), capacity=sum(LENGTHS))
    for _ in range(50):
        data.batch(8)
    assert data.epoch > 3
    assert sorted(made.reads) == list(range(len(LENGTHS)))


def test_several_sets_are_mixed_by_their_rows():
    small, large = Made([11] * 10, "small"), Made([31] * 10, "large", begin=50)
    data = RecordedBatches([small, large], Pieces(20), capacity=100)
    actions = np.concatenate([batch["action"] for batch in epoch_of(data, 1)])
    assert (actions >= 5000).sum() == 300
    assert len(actions) == 400
    together = RecordedBatches([small, large], Pieces(20), 1000).batch(20)["action"]
    assert 0 < (together >= 5000).mean() < 1, "in one batch, too"


def test_advice_stands_beside_actions_where_only_some_sets_have_it():
    data = RecordedBatches([Made(advised=True), Made(begin=50)], Pieces(200), capacity=1000)
    batch = data.batch(80)
    advised = batch["action"] < 5000
    assert 0 < advised.sum() < 80
    np.testing.assert_array_equal(
        batch["extras"]["expert_action"], np.where(advised, -batch["action"], batch["action"])
    )
    assert RecordedBatches([Made()], Pieces(4), 100).batch(4)["extras"] == {}


def test_few_pieces_still_fill_a_batch():
    data = RecordedBatches([Made([4])], Pieces(8), capacity=100)
    batch = data.batch(8)
    assert batch["action"].shape == (8,)
    assert set(batch["action"]) == {0, 1, 2}


@pytest.mark.parametrize("pieces", [Pieces(4), Pieces(3, length=3), Pieces(2, length=5, crossing=True)])
@pytest.mark.parametrize("capacity", [25, 1000])
def test_it_goes_on_where_it_stood(pieces, capacity):
    """At any position: before the first batch, inside a group, at its end, in a later epoch."""

    def made():
        return RecordedBatches([Made(), Made(begin=50)], pieces, capacity, seed=3)

    whole = made()
    for _ in range(25):
        again = made()
        again.load_state_dict(decode(encode(whole.state_dict())))
        for mine, theirs in zip(*([flatten(each.batch(pieces.number)) for _ in range(3)] for each in (again, whole))):
            assert mine.keys() == theirs.keys()
            for name, value in mine.items():
                np.testing.assert_array_equal(value, theirs[name], name)


def test_the_seed_alone_decides_the_order():
    first, same, other = (RecordedBatches([Made()], Pieces(4), 1000, seed=seed) for seed in (0, 0, 1))
    orders = [[each.batch(4)["action"].tolist() for _ in range(5)] for each in (first, same, other)]
    assert orders[0] == orders[1] != orders[2]


def test_other_data_are_refused():
    state = RecordedBatches([Made()], Pieces(4), 1000).state_dict()
    with pytest.raises(EpisodeError, match="made: 54 rows, but 52 when the run began"):
        RecordedBatches([Made([*LENGTHS, 2])], Pieces(4), 1000).load_state_dict(state)
    with pytest.raises(EpisodeError, match="made: 4 rows, too few for a sequence of 8"):
        RecordedBatches([Made([4])], Pieces(4, length=8, crossing=True), 1000)
    with pytest.raises(EpisodeError, match="made: 2 rows, too few for a sequence of 1"):
        RecordedBatches([Made([1, 1])], Pieces(4), 1000)
    assert RecordedBatches([Made([4])], Pieces(2, length=8), 1000).batch(2)["mask"].sum() == 6
    changed = Made()
    data = RecordedBatches([changed], Pieces(4), 1000)
    changed.lengths[2] += 1
    with pytest.raises(EpisodeError, match="made: episode 2 has changed"):
        data.batch(4)
