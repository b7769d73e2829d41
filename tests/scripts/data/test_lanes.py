"""Workers that read data ahead: order, exact positions, memory, errors."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embodia.agents.training import distributed
from embodia.agents.training.rows import EpisodeWriter
from embodia.envs.workers import WorkerError
from embodia.scripts.data.lanes import Lanes, check_workers
from embodia.scripts.mistake import Mistake
from embodia.tests.lanes import ACTIONS, SIZE, SPACE, clips, rows, toy

ROWS, EPISODES = 100, 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Episodes of 16 MiB together. The first pixel is the episode's number, the second the row's."""
    place = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    writer = EpisodeWriter(place, "Toy-v0", SPACE, ACTIONS)
    for episode in range(EPISODES):
        image = rng.integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8)
        image[:, 0, 0, 0], image[:, 0, 0, 1] = episode, np.arange(ROWS)
        flags = {"first": np.arange(ROWS) == 0, "last": np.arange(ROWS) == ROWS - 1, "terminal": np.zeros(ROWS, bool)}
        reward, action = np.zeros(ROWS, np.float32), np.zeros(ROWS, np.int64)
        writer.write({"obs": {"image": image}, "reward": reward, **flags, "action": action, "extras": {}}, episode)
    return place


def seen(batch):
    """(episode, row) of each example of a batch."""
    return batch["obs"]["image"].reshape(-1, SIZE * SIZE * 3)[:, :2].tolist()


def resident(process):
    """Memory of a process [MiB]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(("make", "axis"), [(clips, 1), (rows, 0)])
def test_lanes_give_the_same_batches_in_any_process_and_memory_stays_flat(make, axis, folder):
    """Two workers read more than an epoch; positions are exact although batches are read ahead."""
    alone = [make(folder, 2, number) for number in range(2)]
    with Lanes(partial(make, folder, 2), 2, axis) as lanes:
        early = [seen(lanes.batch(48)) for _ in range(5)]
        assert early[0] == [each for lane in (alone[0].batch(24), alone[1].batch(24)) for each in seen(lane)]
        assert {episode % 2 for episode, _ in early[0][:24]} == {0}, "lane 0 has every second episode"
        state = lanes.state_dict()
        later = [seen(lanes.batch(48)) for _ in range(10)]
        workers = [os.getpid(), *(worker.process.pid for worker in lanes.workers)]
        before = [resident(each) for each in workers]
        rest = [seen(lanes.batch(48)) for _ in range(60)]
        growth = max(now - then for now, then in zip(map(resident, workers), before, strict=True))
        assert growth < 6, "MiB, of 16 MiB of data"
        assert len({tuple(each) for batch in rest for each in batch}) > 0.8 * EPISODES * (ROWS - 1)
    with Lanes(partial(make, folder, 2), 2, axis) as again:
        again.load_state_dict(state)
        assert [seen(again.batch(48)) for _ in range(10)] == later


def test_a_workers_error_and_its_death_are_told():
    with Lanes(toy, 2, 0) as lanes, pytest.raises(Mistake, match=r"episode-000003.npz cannot be read"):
        lanes.batch(4)
    with Lanes(toy, 1, 0) as lanes:
        lanes.batch(4)
        process = lanes.workers[0].process
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        lanes.workers[0].asked.clear()  # what it has read ahead
        with pytest.raises(WorkerError, match=f"data worker 0 .pid {process.pid}. ended with exit code -9; resume"):
            lanes.batch(4)


@pytest.mark.parametrize(
    ("workers", "files", "size", "says"),
    [
        (4, 3, 8, "data.workers is 4, but there are only 3 files to share; use at most 3"),
        (3, 9, 9, "data.workers is 3, which 2 processes cannot share; use a multiple of 2"),
        (4, 9, 10, "training.batch_size is 10, which 4 workers cannot share; use a multiple of 4"),
        (-1, 9, 10, "data.workers is -1; it must be at least 0"),
    ],
)
def test_workers_that_cannot_share_are_named(workers, files, size, says, monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    with pytest.raises(Mistake) as error:
        check_workers("data.workers", workers, ("files", files), ("training.batch_size", size))
    assert str(error.value) == says
