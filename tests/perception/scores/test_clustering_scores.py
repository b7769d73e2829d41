"""Tests of object discovery scores against scikit-learn and hand-computed values."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from embodia.perception.objects.k_means import k_means
from embodia.perception.pictures.scenes import OVERLAP
from embodia.perception.scores.clustering_scores import (
    adjusted_rand_index,
    ari,
    average_precision,
    box_iou,
    box_of,
    corloc,
    mask_iou,
    mean_iou,
)


@pytest.mark.parametrize("seed", range(20))
def test_ari_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, rng.integers(1, 6), 50), rng.integers(0, rng.integers(1, 6), 50)
    found[:25] = truth[:25]
    assert adjusted_rand_index(truth, found) == pytest.approx(adjusted_rand_score(truth, found), abs=1e-12)


def test_ari_of_extremes():
    alone, together = np.arange(6), np.zeros(6, int)
    assert adjusted_rand_index(alone, alone) == adjusted_rand_index(together, together) == 1.0
    assert adjusted_rand_index(alone, together) == 0.0
    assert adjusted_rand_index([0, 0, 1, 1], [7, 7, 3, 3]) == 1.0  # names do not matter


def test_without_background_only_objects_count_and_overlaps_never():
    truth = np.array([[[0, 0, 1, 1, 2, 2, OVERLAP]]])
    found = np.array([[[0, 1, 2, 2, 3, 3, 9]]])  # objects right, background split
    assert ari(truth, found, background=False)[0] == 1.0
    assert ari(truth, found)[0] == pytest.approx(adjusted_rand_score(truth[0, 0, :-1], found[0, 0, :-1]))
    other = found.copy()
    other[..., -1] = 2
    assert ari(truth, other)[0] == ari(truth, found)[0]


def test_mean_iou_matches_as_a_whole():
    truth = np.array([[[1, 1, 1, 1, 2, 2, 0, 0]]])
    found = np.array([[[0, 0, 1, 1, 1, 1, 2, 2]]])
    # Object 1 overlaps segments 0 (2/4) and 1 (2/6), object 2 only segment 1 (2/4): matching gives both 1/2.
    assert mean_iou(truth, found)[0] == pytest.approx(0.5)
    assert mean_iou(truth, found, background=True)[0] == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert mean_iou(truth, np.zeros_like(found))[0] == pytest.approx(4 / 8 / 2)  # one segment matches only one object
    assert np.isnan(mean_iou(np.zeros((1, 1, 4), int), np.zeros((1, 1, 4), int))[0])


def test_overlap_of_boxes_and_masks_is_one():
    mask = np.zeros((2, 8, 8), bool)
    mask[0, 1:5, 2:6], mask[1, 3:7, 4:8] = True, True
    boxes = [box_of(one) for one in mask]
    assert boxes == [(2, 1, 6, 5), (4, 3, 8, 7)]
    expected = [[1, 4 / 28], [4 / 28, 1]]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected)
    np.testing.assert_allclose(mask_iou(mask, mask), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="empty mask"):
        box_of(np.zeros((4, 4), bool))


def test_corloc_takes_any_true_box():
    truths = [np.array([[0, 0, 4, 4], [10, 10, 20, 20]]), np.array([[0, 0, 4, 4]]), np.zeros((0, 4))]
    found = [[10, 10, 20, 16], [0, 0, 4, 1.9], [0, 0, 1, 1]]
    assert corloc(found, truths).tolist() == [True, False, False]


def test_average_precision_by_hand():
    """Four predictions, three true objects: right, wrong, right, right in order of score."""
    ious = [np.array([[0.9, 0.0], [0.8, 0.1], [0.0, 0.6]]), np.array([[0.7]])]
    scores = [[0.9, 0.8, 0.7], [0.6]]  # the second matches the same object as the first
    # Precision at recalls 1/3, 2/3, 1 is 1, 2/3, 3/4; made monotone 1, 3/4, 3/4.
    recalls = np.linspace(0, 1, 101)
    expected = np.where(recalls <= 1 / 3, 1.0, 0.75).mean()
    assert average_precision(ious, scores) == pytest.approx(expected)
    assert average_precision(ious, scores, threshold=0.85) == pytest.approx((recalls <= 1 / 3).mean())
    assert average_precision([np.eye(3)], [np.ones(3)]) == 1.0
    assert average_precision([np.zeros((0, 2))], [np.zeros(0)]) == 0.0
    with pytest.raises(ValueError, match="no true object"):
        average_precision([np.zeros((2, 0))], [np.ones(2)])


def test_k_means_is_as_good_as_scikit_learns():
    import torch

    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 120, 2)) + 6 * rng.integers(0, 3, (3, 120, 1)) * np.array([1, -1])
    ours = k_means(torch.from_numpy(points), 3).numpy()
    for x, labels in zip(points, ours):
        theirs = KMeans(3, n_init=10, random_state=0).fit(x)
        inertia = sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in range(3))
        assert inertia == pytest.approx(theirs.inertia_, rel=1e-6)


def test_k_means_leaves_points_without_weight_out():
    import torch

    points = torch.tensor([[[0.0], [0.1], [1.0], [1.1], [1000.0]]])
    labels = k_means(points, 2, torch.tensor([[1, 1, 1, 1, 0]]))[0].tolist()
    assert labels[0] == labels[1] != labels[2] == labels[3] == labels[4]
    assert k_means(torch.zeros(1, 4, 2), 3).shape == (1, 4)  # identical points must not crash
    with pytest.raises(ValueError, match="need at least 3 points"):
        k_means(torch.zeros(1, 2, 2), 3)
