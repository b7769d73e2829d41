"""Mean field over boxes: places from depth, exact marginals of small problems, doubles that suppression keeps."""

import itertools

import numpy as np
import pytest

from embodia.perception.structured.detection import Boxes, Detections
from embodia.perception.structured.detection.joint_inference import (
    JointInferenceConfig,
    co_occurrence,
    exclusion,
    joint_inference,
    mean_field,
    places,
)
from embodia.perception.structured.detection.nms import nms

CAMERA = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])


def test_a_place_is_where_depth_puts_the_box():
    depth = np.full((100, 100), 5.0)
    depth[40:60, 40:60] = 2.0
    (found,) = places(np.array([[40.0, 40, 60, 60]]), depth, CAMERA)
    np.testing.assert_allclose(found, [-0.2, -0.2, 1.7, 0.2, 0.2, 2.3])
    unknown = places(np.array([[0.0, 0, 10, 10]]), np.zeros((100, 100)), CAMERA)
    assert (exclusion(np.concatenate([unknown, unknown])) == 0).all()


def test_a_box_in_front_of_another_is_another_place():
    depth = np.full((100, 100), 6.0)
    depth[30:90, 20:80] = 4.0
    depth[50:90, 35:65] = 2.0
    boxes = np.array([[20.0, 30, 80, 90], [35, 50, 65, 90], [37, 52, 65, 90]])
    same = exclusion(places(boxes, depth, CAMERA))
    assert same[1, 2] > 0.9
    assert same[0, 1] == same[0, 2] == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_free_energy_never_rises_and_bounds_the_partition_function(seed):
    rng = np.random.default_rng(seed)
    n, classes = 4, 2
    same = np.triu(rng.uniform(size=(n, n)), 1)
    same, together = same + same.T, rng.normal(size=(classes, classes))
    together, unary = together + together.T, rng.normal(size=(n, classes))
    config = JointInferenceConfig(exclude=1.5, together=0.3, sweeps=20)
    q, free = mean_field(unary, same, together, config)
    assert (np.diff(free) <= 1e-9).all()
    energies = []
    for labels in itertools.product(range(classes + 1), repeat=n):
        here = [i for i in range(n) if labels[i] < classes]
        energy = sum(unary[i, labels[i]] for i in here)
        for i, j in itertools.combinations(here, 2):
            energy += 1.5 * same[i, j] - 0.3 * together[labels[i], labels[j]]
        energies.append(energy)
    log_z = np.logaddexp.reduce(-np.array(energies))
    assert free[-1] >= -log_z - 1e-9
    assert free[-1] < -log_z + 0.5
    np.testing.assert_allclose(q.sum(1), 1)


def test_joint_inference_removes_a_double_that_suppression_keeps():
    """A sofa, its armrest, and a chair in front of the sofa: the armrest is no second object, the chair is."""
    boxes = np.array([[10.0, 40, 90, 80], [10, 42, 40, 80], [50, 50, 90, 95]])
    depth = np.full((100, 100), 6.0)
    depth[40:80, 10:90] = 4.0
    depth[50:95, 50:90] = 2.0
    found = Detections(boxes, np.array([0.8, 0.6, 0.7]), np.array([0, 0, 1]))
    assert len(nms(boxes, found.scores, 0.5, found.labels)) == 3
    after = joint_inference(found, exclusion(places(boxes, depth, CAMERA)), np.zeros((2, 2)))
    by_box = {tuple(box): score for box, score in zip(after.boxes.tolist(), after.scores)}
    assert by_box[tuple(boxes[0])] > 0.7
    assert by_box[tuple(boxes[2])] > 0.6
    assert by_box[tuple(boxes[1])] < 0.1


def test_things_that_occur_together_raise_each_other():
    rng = np.random.default_rng(0)
    none = np.zeros((0, 4))
    truth = [
        Boxes(none, np.array([0, 1] if pair else [2]), np.zeros(2 if pair else 1, bool))
        for pair in rng.uniform(size=200) < 0.5
    ]
    table = co_occurrence(truth, 3)
    assert table[0, 1] > 0.5 > 0 > table[0, 2]
    found = Detections(np.zeros((2, 4)), np.array([0.9, 0.4]), np.array([0, 1]))
    raised = joint_inference(found, np.zeros((2, 2)), table, JointInferenceConfig(together=1.0))
    assert raised.scores[raised.labels == 1] > 0.45
    other = Detections(found.boxes, found.scores, np.array([0, 2]))
    lowered = joint_inference(other, np.zeros((2, 2)), table, JointInferenceConfig(together=1.0))
    assert lowered.scores[lowered.labels == 2] < 0.35


def test_no_candidates_and_wrong_shapes():
    empty = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert len(joint_inference(empty, np.zeros((0, 0)), np.zeros((2, 2))).scores) == 0
    with pytest.raises(ValueError, match="shapes differ"):
        joint_inference(empty, np.zeros((1, 1)), np.zeros((2, 2)))
