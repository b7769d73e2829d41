"""The bench of structured outputs: its parts at a tiny size, batches, doubles, and videos with an occlusion."""

import numpy as np
import pytest

from embodia.perception.pictures.shape_films import shape_film
from embodia.perception.pictures.shape_scenes import box_of, shape_scenes
from embodia.perception.structured.detection import Boxes, Detections
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.structured import tracking
from embodia.scripts.bench.structured.detector_worlds import counted, doubles_at
from embodia.scripts.bench.structured.structured import PARTS, measure
from embodia.scripts.bench.structured.training import Batches, rotated
from embodia.scripts.mistake import Mistake


def test_parts_are_chosen_by_their_beginning(tmp_path):
    with pytest.raises(Mistake, match="no part of this bench begins with 'detecter'"):
        measure(Structured(only=("detecter",)))
    assert {"nms", "detector-shapes", "detector-homes", "tracking-roads"} <= set(PARTS)
    found = measure(Structured(only=("nms",), smoke=True, out=tmp_path))
    assert [row.name for row in found] == ["nms, 10,000 boxes"]


def test_boxes_turn_and_mirror_with_their_image():
    """Shapes on black: the box of the bright pixels is the annotated box, before and after."""
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[3:8, 6:16] = 255
    truth = Boxes(np.array([[6.0, 3, 16, 8]]), np.array([0]), np.array([False]))
    for times in range(4):
        turned, boxes = rotated(picture, truth, times)
        assert box_of(turned[..., 0] > 0) == tuple(boxes.boxes[0])
    batches = Batches(picture[None], [truth], 0, rotate=True)
    batch = batches.batch(30)
    for image, boxes in zip(batch["obs"]["rgb"].numpy(), batch["boxes"].numpy()):
        assert box_of(image[..., 0] > 0) == tuple(boxes[0])
    assert len(np.unique(batch["boxes"].numpy().reshape(30, 4), axis=0)) > 4


def test_a_double_lies_in_an_object_that_was_found():
    truth = [Boxes(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0, 0]), np.zeros(2, bool))]
    boxes = np.array([[0.0, 0, 10, 9], [1, 1, 6, 6], [20, 0, 30, 10], [50, 50, 60, 60]])
    found = [Detections(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4, int))]
    scores, right, double, total = counted(found, truth)
    assert right.tolist() == [True, False, True, False]
    assert double.tolist() == [False, True, False, False]
    assert doubles_at(0.5, scores, right, double, total) == 0
    assert doubles_at(1.0, scores, right, double, total) == 50


def test_scenes_and_videos_show_what_their_boxes_say():
    scenes = shape_scenes(20, 0)
    assert all(1 <= len(each.labels) <= 4 for each in scenes.truth)
    boxes = np.concatenate([each.boxes for each in scenes.truth])
    assert boxes.min() >= 0
    assert boxes.max() <= 64
    assert np.array_equal(scenes.images, shape_scenes(20, 0).images)
    film = shape_film(0, length=40)
    wall = slice(36, 60)
    assert np.abs(film.frames[:, :, wall].astype(float).mean() - 127) < 2
    assert all((b[:, 0] >= 60).sum() + (b[:, 2] <= 36).sum() == len(b) for b in film.boxes), "nothing before the wall"
    hidden = [5 - len(each) for each in film.ids]
    assert max(hidden) > 0


def test_appearance_helps_through_occlusion(tmp_path):
    films = [shape_film(tracking.TEST + k) for k in range(4)]
    plain, colour = (
        np.mean([tracking.shape_counts(film, embed).scores()["IDF1"] for film in films])
        for embed in (None, tracking.by_colour)
    )
    assert colour > plain + 0.03
    found = tracking.shape_rows(Structured(seeds=1, smoke=True, out=tmp_path))
    assert [row.unit for row in found] == ["HOTA", "MOTA", "IDF1", "identity switches"]
    assert all(len(row.controls) == 2 for row in found)
    assert tracking.shape_rows(Structured(seeds=1, smoke=True, out=tmp_path)) == found
