"""Scores of segmentations on label maps small enough to count by hand."""

import numpy as np
import pytest

from embodia.perception.scores.segmentation_scores import (
    boundary_band,
    class_iou,
    count_difference,
    pixel_accuracy,
    symmetric_best_dice,
)


def test_accuracy_and_iou_ignore_negative_labels():
    truth, found = np.array([[[0, 0, 1, -1]]]), np.array([[[0, 1, 1, 0]]])
    assert pixel_accuracy(truth, found) == pytest.approx(2 / 3)
    np.testing.assert_allclose(class_iou(truth, found, 3), [1 / 2, 1 / 2, np.nan])


def test_the_band_is_as_wide_as_asked():
    labels = np.zeros((1, 8, 8), np.int64)
    labels[:, :, 4:] = 1
    for width in (1, 2, 3):
        band = boundary_band(labels, width)
        assert np.flatnonzero(band[0, 0]).tolist() == list(range(4 - width, 4 + width))


def test_symmetric_best_dice_punishes_splits_and_merges():
    truth = np.array([[1, 1, 2, 2, 0]])
    assert symmetric_best_dice(truth, truth + 5 * (truth > 0)) == 1
    merged, split = np.array([[1, 1, 1, 1, 0]]), np.array([[1, 2, 3, 3, 0]])
    assert symmetric_best_dice(truth, merged) == pytest.approx(2 / 3)
    assert symmetric_best_dice(truth, split) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert symmetric_best_dice(truth, np.zeros_like(truth)) == 0
    assert [count_difference(truth, each) for each in (merged, split)] == [-1, 1]
