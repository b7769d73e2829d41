"""Labelled images for detectors: scaling without distortion, splits, batches, and malformed data."""

import json

import cv2
import numpy as np
import pytest

from embodia.perception.structured.detection import Detections
from embodia.scripts.assembly.detectors import LabelsConfig
from embodia.scripts.data.labelled import LabelledBatches, LabelledImages, letterbox
from embodia.scripts.mistake import Mistake


def coco(folder, images=4, size=(30, 60), boxes=((10, 5, 20, 10),), **changes):
    """A COCO set of images with a white rectangle on black for each box (left, top, width, height)."""
    folder.mkdir(exist_ok=True)
    height, width = size
    records, rows = [], []
    for i in range(images):
        picture = np.zeros((height, width, 3), np.uint8)
        for left, top, wide, high in boxes:
            picture[top : top + high, left : left + wide] = 255
            rows.append({"id": len(rows) + 1, "image_id": i, "category_id": 7, "bbox": [left, top, wide, high]})
        cv2.imwrite(str(folder / f"{i}.png"), picture)
        records.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width, "seed": i // 2})
    content = {
        "images": records,
        "annotations": rows,
        "categories": [{"id": 7, "name": "box"}, {"id": 9, "name": "bag"}],
    }
    (folder / "instances.json").write_text(json.dumps(content | changes))
    return folder


def opened(folder, **options):
    return LabelledImages(LabelsConfig(path=str(folder), size=(32, 32), **options))


def test_images_keep_their_shape_and_boxes_their_place(tmp_path):
    picture, truth = opened(coco(tmp_path / "set"))[0]
    assert picture.shape == (32, 32, 3)
    np.testing.assert_allclose(truth.boxes, np.array([[10, 5, 30, 15]]) * 32 / 60, rtol=1e-6)
    assert truth.labels.tolist() == [0]
    bright = picture[..., 0] > 128
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    left, top, right, bottom = truth.boxes[0]
    assert abs(columns[0] - left) < 1 and abs(columns[-1] + 1 - right) < 1  # noqa: PT018
    assert abs(rows[0] - top) < 1 and abs(rows[-1] + 1 - bottom) < 1  # noqa: PT018
    assert (picture[17:] == 114).all()


def test_detections_go_back_to_the_original_image():
    fit = letterbox((30, 60), (32, 32))
    found = Detections(np.array([[4.0, 2, 16, 8], [0, 20, 30, 30]]), np.array([0.9, 0.5]), np.array([1, 0]))
    back = fit.back(found, (30, 60))
    np.testing.assert_allclose(back.boxes, [[7.5, 3.75, 30, 15]])
    assert back.labels.tolist() == [1]  # the other box lies in the grey


def test_episodes_are_not_split_and_batches_resume(tmp_path):
    images = opened(coco(tmp_path / "set", 8), held_out=2)
    train, held = images.split()
    assert (train, held) == ([0, 1, 4, 5], [2, 3, 6, 7])
    batches = LabelledBatches(images, train, 0)
    seen = [batches.batch(3) for _ in range(3)]
    state = batches.state_dict()
    after = batches.batch(5)
    again = LabelledBatches(images, train, 1)
    again.load_state_dict(state)
    assert (again.batch(5)["boxes"] == after["boxes"]).all()
    lefts = {round(float(x), 2) for batch in seen for x in batch["boxes"][:, 0, 0]}
    assert lefts == {5.33, 16.0}, "as they are, and mirrored"


def test_malformed_sets_are_named(tmp_path):
    with pytest.raises(Mistake, match=r"no such path"):
        opened(tmp_path / "nothing")
    with pytest.raises(Mistake, match=r"no instances\.json"):
        opened(tmp_path)
    with pytest.raises(Mistake, match=r"has no category 'bicycle'"):
        opened(coco(tmp_path / "a"), categories=("bicycle",))
    with pytest.raises(Mistake, match="lists no images"):
        opened(coco(tmp_path / "b", 0))
    row = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [0, 0, 1, 1]}
    with pytest.raises(Mistake, match=r"annotations\[0\].category_id is 3, which is not listed"):
        opened(coco(tmp_path / "c", annotations=[row]))
    with pytest.raises(Mistake, match=r"annotations\[0\] has no `bbox`"):
        opened(coco(tmp_path / "d", annotations=[{"id": 1, "image_id": 0, "category_id": 7}]))
    images = opened(coco(tmp_path / "e"), categories=("bag",))
    with pytest.raises(Mistake, match="no training image shows an object of bag"):
        LabelledBatches(images, [0], 0)


def test_boxes_of_no_area_are_skipped_and_counted(tmp_path):
    images = opened(coco(tmp_path / "set", boxes=((10, 5, 20, 10), (3, 3, 0, 5))))
    assert images.coco.skipped == 4
    assert len(images[0][1].boxes) == 1
