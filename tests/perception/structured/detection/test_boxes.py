"""Boxes and non-maximum suppression against definitions written out in loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodia.perception.structured.detection.boxes import (
    area,
    check_boxes,
    generalized_iou,
    iou,
    pairwise_iou,
    to_centres,
    to_corners,
)
from embodia.perception.structured.detection.nms import nms, soft_nms


def random_boxes(rng, n, size=20):
    """Boxes with whole corners, so that ties and boxes without area occur."""
    first = rng.integers(0, size, (n, 2))
    return np.concatenate([first, first + rng.integers(0, size // 2, (n, 2))], 1).astype(float)


def by_pixels(a, b, size=40):
    grid = np.zeros((2, size, size), bool)
    for layer, (left, top, right, bottom) in zip(grid, (a.astype(int), b.astype(int))):
        layer[top:bottom, left:right] = True
    union = (grid[0] | grid[1]).sum()
    return (grid[0] & grid[1]).sum() / union if union else 0.0


def test_overlaps_are_those_of_pixels():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 60), random_boxes(rng, 60)
    expected = np.array([[by_pixels(x, y) for y in b] for x in a])
    np.testing.assert_allclose(pairwise_iou(a, b), expected, atol=1e-12)
    found = iou(torch.from_numpy(a)[:, None], torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_generalized_iou_is_that_of_the_hull():
    a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([4.0, 0, 6, 2])
    assert generalized_iou(a, b).item() == pytest.approx(0 - (12 - 8) / 12)
    assert generalized_iou(a, a).item() == pytest.approx(1)
    far = generalized_iou(a, b + 1000)
    assert -1 < far.item() < -0.99


def test_formats_are_inverses_and_areas_are_never_negative():
    boxes = torch.tensor([[1.0, 2, 5, 10], [3, 3, 2, 2]])
    torch.testing.assert_close(to_corners(to_centres(boxes)), boxes)
    assert area(boxes).tolist() == [32, 0]
    assert to_centres(boxes)[0].tolist() == [3, 6, 4, 8]


def slow_nms(boxes, scores, threshold, groups):
    """All pairs: a box stays unless a better one of its group that stays overlaps it."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    overlaps, stays = pairwise_iou(boxes, boxes), []
    for i in order:
        if not any(groups[i] == groups[j] and overlaps[i, j] > threshold for j in stays):
            stays.append(i)
    return stays


def test_nms_equals_the_definition_on_10000_random_sets():
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        n = int(rng.integers(0, 13))
        boxes, groups = random_boxes(rng, n), rng.integers(0, 3, n)
        scores = rng.integers(0, 6, n) / 5  # with ties
        threshold = rng.choice([0.0, 0.3, 0.5, 0.7])
        assert nms(boxes, scores, threshold, groups).tolist() == slow_nms(boxes, scores, threshold, groups)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_nms_is_idempotent_and_does_not_depend_on_the_order(seed):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 40), rng.permutation(40) / 40
    kept = nms(boxes, scores, 0.4)
    assert nms(boxes[kept], scores[kept], 0.4).tolist() == list(range(len(kept)))
    turned = rng.permutation(40)
    assert turned[nms(boxes[turned], scores[turned], 0.4)].tolist() == kept.tolist()


def slow_soft(boxes, scores, decay):
    scores, left = scores.copy(), list(range(len(boxes)))
    overlaps = pairwise_iou(boxes, boxes)
    while left:
        best = max(left, key=lambda i: (scores[i], -i))
        left.remove(best)
        for i in left:
            scores[i] *= decay(overlaps[best, i])
    return scores


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_soft_nms_equals_the_definition_and_keeps_groups_apart(method):
    rng = np.random.default_rng(1)
    decay = (lambda o: np.exp(-o * o / 0.5)) if method == "gaussian" else (lambda o: 1 - o if o > 0.3 else 1)
    for _ in range(200):
        n = int(rng.integers(0, 12))
        boxes, scores, groups = random_boxes(rng, n), rng.uniform(size=n), rng.integers(0, 2, n)
        expected = np.zeros(n)
        for group in range(2):
            expected[groups == group] = slow_soft(boxes[groups == group], scores[groups == group], decay)
        kept, found = soft_nms(boxes, scores, method=method, lowest=0.0, groups=groups)
        np.testing.assert_allclose(found, expected[kept], atol=1e-12)
        assert (np.diff(found) <= 0).all()
        assert len(kept) == n


def test_soft_nms_finds_more_of_a_crowd():
    """Pairs of objects whose boxes overlap by 0.5 to 0.8: hard suppression removes one of each pair."""
    rng = np.random.default_rng(0)
    first = np.array([[100.0 * k, 0, 100 * k + 40, 40] for k in range(50)])
    second = first + np.array([1.0, 0, 1, 0]) * rng.uniform(5, 12, (50, 1))
    boxes, scores = np.concatenate([first, second]), rng.uniform(0.6, 1, 100)
    soft, _ = soft_nms(boxes, scores, lowest=0.1)
    assert len(nms(boxes, scores, 0.5)) == 50
    assert len(soft) > 90


def test_bad_boxes_are_named():
    with pytest.raises(ValueError, match="NaN"):
        nms(np.array([[0, 0, np.nan, 1]]), np.ones(1))
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        nms(np.zeros((2, 4)), np.ones(3))
    with pytest.raises(ValueError, match=r"image 3: box 0 .* no area"):
        check_boxes(np.array([[2.0, 0, 2, 5]]), np.array([0]), 2, "image 3")
    with pytest.raises(ValueError, match="image 3: box 0 has label 2; there are 2 classes"):
        check_boxes(np.array([[1.0, 0, 2, 5]]), np.array([2]), 2, "image 3")
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []
