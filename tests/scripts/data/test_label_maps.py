"""Label maps of COCO files: painting order, crowds, categories, scaling, batches."""

import json

import cv2
import numpy as np
import pytest

from embodia.perception.structured.segmentation import IGNORED
from embodia.scripts.assembly.detectors import LabelsConfig
from embodia.scripts.data.coco import run_lengths
from embodia.scripts.data.label_maps import LabelMaps
from embodia.scripts.data.labelled import LabelledImages
from embodia.scripts.mistake import Mistake


def coco(folder, masks):
    """A COCO set of two equal images of 8 x 16 pixels, from (category, mask, crowd) in painting order of the file."""
    folder.mkdir()
    rows = [
        {"id": 10 * i + k, "image_id": i, "category_id": category, "bbox": [0, 0, 1, 1], "iscrowd": crowd,
         "segmentation": run_lengths(mask)}
        for i in range(2)
        for k, (category, mask, crowd) in enumerate(masks)
    ]  # fmt: skip
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((8, 16, 3), 50 * i, np.uint8))
    images = [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 16} for i in range(2)]
    categories = [{"id": 5, "name": "cup"}, {"id": 3, "name": "table"}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return str(folder)


def block(top, bottom, left, right):
    mask = np.zeros((8, 16), bool)
    mask[top:bottom, left:right] = True
    return mask


MASKS = [(5, block(2, 4, 2, 6), 0), (3, block(0, 6, 0, 8), 0), (5, block(6, 8, 12, 16), 1)]


def opened(path, **options):
    options = {"size": (16, 16), "held_out": 0, "mirror": False} | options
    return LabelMaps(LabelledImages(LabelsConfig(path=path, **options)), [0, 1])


def test_small_objects_lie_on_large_ones_and_crowds_are_ignored(tmp_path):
    image, labels, instances = opened(coco(tmp_path / "set", MASKS))[1]
    table, cup = 1, 2  # by their ids, 3 and 5
    assert labels[3, 3] == cup
    assert labels[0, 0] == labels[5, 7] == table
    assert labels[7, 15] == IGNORED
    assert instances[7, 15] == 0
    assert len({instances[3, 3], instances[0, 0], 0}) == 3
    assert (labels[8:] == IGNORED).all()  # beside the image
    assert (instances[8:] == 0).all()
    assert (image[:8] == 50).all()


def test_categories_that_are_not_chosen_are_background(tmp_path):
    _, labels, instances = opened(coco(tmp_path / "set", MASKS), categories=("cup",))[0]
    assert labels[0, 0] == instances[0, 0] == 0
    assert labels[3, 3] == 1


def test_batches_mirror_images_with_their_maps_and_continue_after_a_restart(tmp_path):
    path = coco(tmp_path / "set", MASKS)
    maps = opened(path, mirror=True)
    columns = [
        np.flatnonzero((each == 2).any(0)).tolist() for _ in range(8) for each in maps.batch(2)["labels"].numpy()
    ]
    assert {tuple(each) for each in columns} == {(2, 3, 4, 5), (10, 11, 12, 13)}
    again = opened(path, mirror=True)
    again.load_state_dict(maps.state_dict())
    assert again.batch(3)["labels"].equal(maps.batch(3)["labels"])
    with pytest.raises(Mistake, match="lists 2 images, but 3 when the run started"):
        again.load_state_dict(maps.state_dict() | {"images": 3})
