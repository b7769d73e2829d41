"""Scores of sets counted by hand."""

import numpy as np
import pytest

from embodia.perception.scores.set_scores import set_f1

TRUE = np.array([0, 1, 1]), np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]])


def test_order_does_not_matter_and_each_truth_counts_once():
    labels, points = TRUE
    assert set_f1((labels[::-1], points[::-1]), TRUE, 0.05) == 1
    twice = np.array([0, 0]), np.array([[0.1, 0.1], [0.12, 0.1]])
    assert set_f1(twice, TRUE, 0.05) == pytest.approx(2 / 5)


def test_labels_and_distances_must_fit():
    labels, points = TRUE
    assert set_f1((1 - labels, points), TRUE, 0.05) == 0
    assert set_f1((labels, points + 0.1), TRUE, 0.05) == 0
    nothing = np.zeros(0, np.int64), np.zeros((0, 2))
    assert set_f1(nothing, nothing, 0.05) == 1
    assert set_f1(nothing, TRUE, 0.05) == 0
