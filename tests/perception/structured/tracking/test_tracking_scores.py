"""Tracking scores: equal to those of TrackEval 1.3.0 on random sequences, and to counts made by hand.

TrackEval needs another OpenCV package than ours, so its answers are stored: trackeval_1_3_0.json holds what its metrics
HOTA, CLEAR and Identity gave for `scene(0)` to `scene(5)`, and for all six together.
"""

import json
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest

from embodia.perception.structured.tracking.tracking_scores import Counts, Scene

GOLDEN = json.loads(Path(__file__).with_name("trackeval_1_3_0.json").read_text())


def scene(seed, frames=25, objects=5):
    """Random true and tracked boxes, with misses, false boxes, swapped identities and empty frames."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(0, 80, (objects, 2)), rng.normal(0, 3, (objects, 2))
    size = rng.uniform(8, 25, (objects, 2))
    name = np.arange(objects) + 100
    truth, ids, tracked, tracks = [], [], [], []
    for k in range(frames):
        place = place + speed
        there = rng.uniform(size=objects) < (0.0 if k == 7 else 0.9)
        boxes = np.concatenate([place, place + size], 1)
        truth.append(boxes[there])
        ids.append(np.flatnonzero(there) + 1)
        if rng.uniform() < 0.15:
            name = rng.permutation(name)
        if rng.uniform() < 0.1:
            name[rng.integers(objects)] = 200 + k
        seen = there & (rng.uniform(size=objects) < (0.0 if k == 11 else 0.85))
        found = boxes[seen] + rng.normal(0, 2.5, (seen.sum(), 4))
        false = rng.uniform(0, 100, (int(rng.integers(0, 2)), 2))
        tracked.append(np.concatenate([found, np.concatenate([false, false + 15], 1)]))
        tracks.append(np.concatenate([name[seen], 900 + np.arange(len(false))]))
    return truth, ids, tracked, tracks


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda each: each["scene"])
def test_scores_equal_those_of_trackeval(golden):
    chosen = range(6) if golden["scene"] == "all" else [int(golden["scene"])]
    counts = reduce(add, (Scene(*scene(seed)).counts() for seed in chosen))
    expected = {name: value for name, value in golden.items() if name != "scene"}
    assert counts.scores() == pytest.approx(expected, abs=1e-6)


def test_a_perfect_tracker_scores_one_and_no_tracks_score_zero():
    boxes, ids, *_ = scene(0)
    perfect = Scene(boxes, ids, boxes, ids).counts().scores()
    assert perfect == pytest.approx({"HOTA": 1, "DetA": 1, "AssA": 1, "MOTA": 1, "IDF1": 1, "switches": 0})
    none = [np.zeros((0, 4))] * len(boxes), [np.zeros(0, int)] * len(boxes)
    assert Scene(boxes, ids, *none).counts().scores()["MOTA"] == 0
    assert Scene(*none, *none).counts().scores()["HOTA"] == 0
    assert Counts().scores()["IDF1"] == 0


def test_one_swap_half_way():
    """Two objects of ten frames exchange their tracks in the middle: two switches, half of the identities right."""
    boxes = [np.array([[0.0, 0, 10, 10], [50, 0, 60, 10]])] * 10
    ids, tracks = [np.array([1, 2])] * 10, [np.array([1, 2])] * 5 + [np.array([2, 1])] * 5
    scores = Scene(boxes, ids, boxes, tracks).counts().scores()
    assert scores["switches"] == 2
    assert scores["MOTA"] == pytest.approx(1 - 2 / 20)
    assert scores["IDF1"] == pytest.approx(0.5)
    assert scores["AssA"] == pytest.approx(5 / 15)  # 5 shared frames of 10 + 10 - 5
    assert scores["HOTA"] == pytest.approx(np.sqrt(5 / 15))


def test_bad_sequences_are_named():
    box = [np.array([[0.0, 0, 1, 1]] * 2)]
    with pytest.raises(ValueError, match="frame 0: an id occurs twice"):
        Scene(box, [np.array([3, 3])], box, [np.array([1, 2])])
    with pytest.raises(ValueError, match="1 true and 2 tracked frames"):
        Scene(box, [np.array([1, 2])], box * 2, [np.array([1, 2])] * 2)
