"""Mean average precision: equal to COCO's own evaluator, and to areas under curves drawn by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from embodia.perception.structured.detection import Boxes, Detections
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision


def scene(rng, num_classes, size=200):
    """Annotations with crowds, and detections that are jittered, doubled, of a wrong class, or of nothing."""
    n = int(rng.integers(0, 9))
    first = rng.uniform(0, size, (n, 2))
    boxes = np.concatenate([first, first + rng.choice([10, 40, 120], (n, 1)) * rng.uniform(0.5, 1.5, (n, 2))], 1)
    labels = rng.integers(num_classes, size=n)
    near = rng.integers(n, size=3 * n) if n else np.zeros(0, int)
    found = boxes[near] + rng.normal(0, 4, (3 * n, 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    noise = rng.uniform(0, size, (4, 2))
    found = np.concatenate([found, np.concatenate([noise, noise + 30], 1)])
    named = np.concatenate([labels[near], rng.integers(num_classes, size=4)])
    named = np.where(rng.uniform(size=len(named)) < 0.1, rng.integers(num_classes, size=len(named)), named)
    scores = rng.integers(0, 40, len(found)) / 40  # with ties
    order = np.argsort(-scores, kind="stable")
    return Boxes(boxes, labels, rng.uniform(size=n) < 0.15), Detections(found[order], scores[order], named[order])


def by_coco(truth, found, num_classes):
    def xywh(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    images = [{"id": i} for i in range(len(truth))]
    annotations = [
        {"image_id": i, "category_id": int(label), "bbox": xywh(box), "iscrowd": int(crowd)}
        for i, each in enumerate(truth)
        for box, label, crowd in zip(*each)
    ]
    for k, row in enumerate(annotations):
        row |= {"id": k + 1, "area": row["bbox"][2] * row["bbox"][3]}
    results = [
        {"image_id": i, "category_id": int(label), "bbox": xywh(box), "score": float(score)}
        for i, each in enumerate(found)
        for box, score, label in zip(*each)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCO()
        judge.dataset = {"images": images, "annotations": annotations,
                         "categories": [{"id": k} for k in range(num_classes)]}  # fmt: skip
        judge.createIndex()
        asked = COCOeval(judge, judge.loadRes(results), "bbox")
        asked.evaluate()
        asked.accumulate()
        asked.summarize()
    return asked.stats


@pytest.mark.parametrize("seed", range(4))
def test_all_scores_equal_those_of_coco(seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, 3) for _ in range(40)]
    truth, found = [s[0] for s in scenes], [s[1] for s in scenes]
    ours = MeanAveragePrecision(found, truth, 3).scores()
    theirs = by_coco(truth, found, 3)
    assert 0.1 < ours["AP"] < 0.9
    np.testing.assert_allclose(list(ours.values()), theirs, atol=1e-6)


def one(boxes, scores=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    if scores is None:
        return Boxes(boxes, np.zeros(len(boxes), int), np.zeros(len(boxes), bool))
    return Detections(boxes, np.array(scores), np.zeros(len(boxes), int))


def test_a_double_detection_is_wrong():
    box = [0, 0, 10, 10]
    twice = MeanAveragePrecision([one([box, box], [0.9, 0.8])], [one([box, [50, 50, 60, 60]])], 1).scores()
    assert twice["AP50"] == pytest.approx(51 / 101)  # recall 0 to 0.5 with precision 1
    assert twice["AR100"] == 0.5


def test_no_detections_score_zero_and_nothing_to_find_scores_nothing():
    empty = one([], [])
    assert MeanAveragePrecision([empty], [one([[0, 0, 5, 5]])], 1).scores()["AP"] == 0
    assert np.isnan(MeanAveragePrecision([empty], [one([])], 1).scores()["AP"])
    with pytest.raises(ValueError, match="detections of 1 images, but annotations of 2"):
        MeanAveragePrecision([empty], [one([]), one([])], 1)


def test_resampling_equals_evaluating_the_images_again():
    rng = np.random.default_rng(5)
    scenes = [scene(rng, 2) for _ in range(6)]
    all_of = MeanAveragePrecision([s[1] for s in scenes], [s[0] for s in scenes], 2)
    weights = np.array([2, 0, 1, 0, 3, 0])
    again = [s for s, w in zip(scenes, weights) for _ in range(w)]
    expected = MeanAveragePrecision([s[1] for s in again], [s[0] for s in again], 2).scores()
    assert all_of.scores(weights)["AP50"] == pytest.approx(expected["AP50"], abs=0.02)  # ties come in another order
    draws = all_of.resampled(0.5, 50)
    assert draws.min() < all_of.scores()["AP50"] < draws.max()
    assert np.array_equal(draws, all_of.resampled(0.5, 50))
    assert np.nanmean(all_of.by_class()) == pytest.approx(all_of.scores()["AP50"])
