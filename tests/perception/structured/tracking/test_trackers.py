"""Trackers: the Kalman filter against its equations, identities through misses, crossings and a moving camera."""

import cv2
import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.nature_cnn import NatureCNN
from embodia.perception.structured.detection import Detections
from embodia.perception.structured.tracking import kalman_filter
from embodia.perception.structured.tracking.appearance import by_colour, by_encoder, crops
from embodia.perception.structured.tracking.optical_flow import optical_flow
from embodia.perception.structured.tracking.sort import Sort, SortConfig, shift


def found(boxes, labels=None, scores=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return Detections(boxes, np.ones(len(boxes)) if scores is None else np.array(scores), labels)


def test_the_filter_equals_its_equations_for_each_track():
    rng = np.random.default_rng(0)
    measured = rng.uniform(20, 40, (3, 4))
    mean, covariance = kalman_filter.predict(*kalman_filter.start(measured))
    seen = measured + rng.normal(size=(3, 4))
    after, left = kalman_filter.update(mean, covariance, seen)
    for k in range(3):
        h, p = kalman_filter.MEASURED, covariance[k]
        r = np.diag(np.square(kalman_filter.POSITION * mean[k, [2, 3, 2, 3]]))
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
        np.testing.assert_allclose(after[k], mean[k] + gain @ (seen[k] - h @ mean[k]))
        joseph = (np.eye(8) - gain @ h) @ p @ (np.eye(8) - gain @ h).T + gain @ r @ gain.T
        np.testing.assert_allclose(left[k], joseph, atol=1e-9)
        change = seen[k] - h @ mean[k]
        expected = change @ np.linalg.inv(h @ p @ h.T + r) @ change
        assert kalman_filter.distances(mean, covariance, seen)[k, k] == pytest.approx(expected)


def test_velocity_is_learned():
    state = kalman_filter.start(np.array([[0.0, 0, 10, 10]]))
    for k in range(1, 15):
        state = kalman_filter.update(*kalman_filter.predict(*state), np.array([[3.0 * k, -k, 10, 10]]))
    np.testing.assert_allclose(state[0][0, 4:6], [3, -1], atol=0.1)


def test_identities_survive_missed_detections_and_crossings():
    tracker, names = Sort(), {}
    for k in range(30):
        boxes = [[4 * k, 20, 4 * k + 12, 32], [120 - 4 * k, 24, 132 - 4 * k, 36]]
        kept = boxes[:1] if k in (8, 9, 10) else boxes  # the second is not detected in three frames
        tracked = tracker.step(found(kept))
        for box, number in zip(tracked.boxes, tracked.ids):
            which = int(box[1] > 22)  # the second moves along a lower line
            names.setdefault(which, set()).add(int(number))
        if k == 9:
            assert len(tracked.ids) == 1, "an object that is not seen is not reported"
    assert names == {0: {1}, 1: {2}}


def test_labels_scores_and_patience():
    tracker = Sort(SortConfig(patience=2))
    box = [10, 10, 30, 30]
    for _ in range(3):
        tracked = tracker.step(found([box, box, [50, 50, 60, 60]], [0, 1, 0], [0.9, 0.8, 0.1]))
    assert sorted(tracked.labels.tolist()) == [0, 1]
    assert tracked.scores.tolist() == pytest.approx([0.9, 0.8])
    for _ in range(3):
        assert len(tracker.step(found([])).ids) == 0
    assert set(tracker.step(found([box])).ids.tolist()) & {1, 2} == set(), "tracks ended after two frames"


def test_a_single_false_detection_is_not_reported():
    tracker = Sort()
    for _ in range(4):
        tracker.step(found([[10, 10, 30, 30]]))
    assert tracker.step(found([[10, 10, 30, 30], [70, 70, 80, 80]])).ids.tolist() == [1]


def through_occlusion(features):
    """Two objects hide for eight frames, change their ways meanwhile and come back at each other's side."""
    tracker, before, after = Sort(), {}, {}
    looks = np.array([[1.0, 0, 0], [0, 1, 0]])
    for k in range(40):
        first, second = ((10 + 2 * k, 20), (10 + 2 * k, 60)) if k < 15 else ((42 + k, 55), (42 + k, 24))
        hidden = 15 <= k < 23
        boxes = [] if hidden else [[x, y, x + 14, y + 14] for x, y in (first, second)]
        tracked = tracker.step(found(boxes), looks[: len(boxes)] if features else None)
        for box, number in zip(tracked.boxes, tracked.ids):
            which = int(np.argmin([abs(box[1] - y) for _, y in (first, second)]))
            (before if k < 15 else after)[which] = int(number)
    return before, after


def test_appearance_keeps_identities_through_an_occlusion_that_motion_does_not():
    before, after = through_occlusion(features=True)
    assert before == after
    before, after = through_occlusion(features=False)
    assert before != after


def test_optical_flow_follows_a_texture_and_moves_the_tracks_of_a_shaking_camera():
    rng = np.random.default_rng(0)
    noise = np.repeat(np.repeat(rng.integers(0, 255, (40, 40, 3)), 10, 0), 10, 1).astype(np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    jumps = [0, 0, 0, 16, 16, 32, 32, 32, 32]
    views = [texture[30:130, 40 + jump : 180 + jump] for jump in jumps]
    flow = optical_flow(views[2], views[3])
    np.testing.assert_allclose(np.median(flow[20:80, 30:110], axis=(0, 1)), [-16, 0], atol=0.5)
    np.testing.assert_allclose(shift(np.array([[40.0, 30, 60, 50]]), flow), [[-16, 0]], atol=0.5)
    numbers = {}
    for moved in (True, False):
        tracker = Sort()
        for k, jump in enumerate(jumps):
            seen = found([[70 - jump, 40, 80 - jump, 50]])
            tracked = tracker.step(seen, flow=optical_flow(views[k - 1], views[k]) if moved and k else None)
        numbers[moved] = tracked.ids.tolist()
    assert numbers[True] == [1]
    assert numbers[False] != [1]
    with pytest.raises(ValueError, match="two uint8 images"):
        optical_flow(views[0], views[0].astype(float))


def test_crops_and_embeddings_tell_objects_apart():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 10:20] = (200, 30, 30)
    image[10:20, 40:50] = (30, 30, 200)
    boxes = np.array([[10.0, 10, 20, 20], [40, 10, 50, 20], [11, 11, 19, 19], [70, 50, 90, 60]])
    parts = crops(image, boxes, 16)
    assert (parts[0] == (200, 30, 30)).all()
    assert (parts[3] == image[-1, -1]).all()
    encoder = NatureCNN(spaces.Dict(rgb=spaces.Box(0, 255, (36, 36, 3), np.uint8))).eval()
    for vectors in (by_colour(parts), by_encoder(encoder)(crops(image, boxes, 36))):
        alike = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
        assert alike[0, 2] > alike[0, 1]
    torch.testing.assert_close(torch.tensor(np.linalg.norm(by_colour(parts), axis=1)), torch.ones(4).double())


def test_bad_features_are_named():
    with pytest.raises(ValueError, match="1 detections need as many finite feature vectors"):
        Sort().step(found([[0, 0, 5, 5]]), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="finite"):
        Sort().step(found([[0, 0, 5, 5]]), np.full((1, 4), np.nan))
