"""Labelled images on disk: round trip, flow, masks, and files with missing fields."""

import json

import cv2
import numpy as np
import pytest

from embodia.envs.drawing.camera_geometry import intrinsics
from embodia.envs.drawing.labels import LabelledImage, optical_flow, upright_object
from embodia.scripts.data.coco import CocoWriter, read_coco, run_lengths
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake

NAMES = ("unlabelled", "ball", "cube")


def picture(rng, shift=0.0):
    """A labelled image (12, 16) of two objects, and a third that is not visible."""
    instance = np.zeros((12, 16), np.int32)
    instance[2:7, 3:9], instance[5:12, 8:16] = 4, 7
    things = [(4, "ball"), (7, "cube"), (9, "ball")]
    pose = np.eye(4)
    pose[0, 3] = shift
    return LabelledImage(
        rgb=rng.integers(0, 256, (12, 16, 3), dtype=np.uint8),
        depth=np.full((12, 16), 4.0, np.float32),
        instance=instance,
        category=np.where(instance == 4, 1, np.where(instance == 7, 2, 0)),
        categories=NAMES,
        objects=tuple(upright_object(i, kind, [i, 0, 0.5, 1, 2, 0, 3]) for i, kind in things),
        intrinsics=intrinsics(12, 16, 90.0),
        camera_to_world=pose,
    )


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    images = [picture(rng), picture(rng, 0.5), picture(rng)]
    writer = CocoWriter(tmp_path)
    for image, first in zip(images, (True, False, True)):
        writer.add(image, world=2, first=first, seed=5)
    return images, writer.close()


def test_round_trip(written):
    images, path = written
    found = read_coco(path)
    assert (len(found), found.skipped) == (3, 0)
    assert found.names == ("ball", "cube")
    for k, image in enumerate(images):
        back = found[k]
        np.testing.assert_array_equal(back.pixels(), image.rgb)
        np.testing.assert_array_equal(back.boxes, image.boxes)
        assert [found.categories[i] for i in back.labels] == [each.category for each in image.visible]
        np.testing.assert_array_equal(back.masks(), [image.mask(each.semantic_id) for each in image.visible])
        for row, thing in zip(back.records, image.visible):
            assert row["track_id"] == thing.semantic_id
            np.testing.assert_array_equal(row["rotation"], thing.rotation)
        dense = np.load(path.parent / "dense" / f"{k:06d}.npz")
        for name in ("depth", "instance", "category", "intrinsics", "camera_to_world"):
            np.testing.assert_array_equal(dense[name], getattr(image, name))
    assert not (path.parent / "images.jsonl").exists()


def test_flow_leads_to_the_next_image_of_an_episode(written):
    images, path = written
    files = sorted((path.parent / "flow").iterdir())
    assert [file.name for file in files] == ["000000.npz"], "images 1 and 2 end their episodes"
    flow, known = optical_flow(images[0], images[1])
    stored = np.load(files[0])
    np.testing.assert_array_equal(stored["flow"], flow)
    np.testing.assert_array_equal(stored["known"], known)
    np.testing.assert_allclose(flow[0, 4], [-1.0, 0.0], atol=1e-6)  # 8 pixels * 0.5 m / 4 m


def test_a_data_set_is_not_overwritten(written):
    _, path = written
    with pytest.raises(Mistake, match="never overwritten"):
        CocoWriter(path.parent)


def test_run_lengths():
    """COCO counts down the columns and begins outside the mask."""
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert run_lengths(mask) == {"size": [2, 3], "counts": [2, 1, 1, 2]}
    assert run_lengths(np.ones((2, 2), bool))["counts"] == [0, 4]
    assert run_lengths(np.zeros((2, 2), bool))["counts"] == [4]
    assert run_lengths(np.array([[1], [0]], bool))["counts"] == [0, 1, 1]


GOOD = {
    "categories": [{"id": 3, "name": "cube"}],
    "images": [{"id": 8, "file_name": "a.png", "height": 6, "width": 5}],
    "annotations": [
        {"image_id": 8, "category_id": 3, "bbox": [1, 2, 2, 3], "segmentation": [[1, 2, 3, 2, 3, 5, 1, 5]]}
    ],
}


def stored(tmp_path, content):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return path


def changed(path, value):
    """GOOD with the entry at a path replaced, or removed if the value is None."""
    content = json.loads(json.dumps(GOOD))
    *parents, last = path
    node = content
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return content


def test_files_of_others(tmp_path):
    """Polygons, no ids of annotations, no crowd flags."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((6, 5, 3), np.uint8))
    image = read_coco(stored(tmp_path, GOOD))[0]
    np.testing.assert_array_equal(image.boxes, [[1, 2, 3, 5]])
    mask = np.zeros((6, 5), bool)
    mask[2:5, 1:3] = True
    assert (image.masks()[0] >= mask).all()
    assert image.pixels().shape == (6, 5, 3)
    assert not image.crowd.any()


def test_boxes_of_no_area_are_skipped(tmp_path):
    found = read_coco(stored(tmp_path, changed(("annotations", 0, "bbox"), [1, 2, 0, 3])))
    assert found.skipped == 1
    assert found[0].boxes.shape == (0, 4)
    assert found[0].masks().shape == (0, 6, 5)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("categories",), None, "`categories` is missing"),
        (("annotations",), {}, "`annotations` is missing or not a list"),
        (("images", 0, "width"), None, r"images\[0\] has no `width`"),
        (("images", 0, "height"), "6", r"images\[0\].height is '6'; expected int"),
        (("images", 0), 5, r"images\[0\] is not an object"),
        (("annotations", 0, "bbox"), None, r"annotations\[0\] has no `bbox`"),
        (("annotations", 0, "bbox"), [1, 2, 3], r"annotations\[0\].bbox is \[1, 2, 3\]"),
        (("annotations", 0, "bbox"), [1, 2, -3, 4], r"annotations\[0\].bbox"),
        (("annotations", 0, "image_id"), 9, "image_id is 9, which is not listed"),
        (("annotations", 0, "category_id"), 9, "category_id is 9, which is not listed"),
        (("categories",), [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}], "`categories` has an id twice"),
    ],
)
def test_missing_and_malformed_fields(tmp_path, where, value, message):
    with pytest.raises(Mistake, match=message):
        read_coco(stored(tmp_path, changed(where, value)))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "segmentation is missing"),
        ({"size": [6, 5], "counts": [7]}, "do not fill an image"),
        ({"size": [6, 5], "counts": "abc"}, "compressed string"),
        ([[1, 2, 3]], "at least three corners"),
        ([["a"] * 6], "must be numbers"),
    ],
)
def test_malformed_masks(tmp_path, segmentation, message):
    image = read_coco(stored(tmp_path, changed(("annotations", 0, "segmentation"), segmentation)))[0]
    with pytest.raises(Mistake, match=message):
        image.masks()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(Mistake, match="cannot be read"):
        read_coco(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(Mistake, match="is not JSON"):
        read_coco(tmp_path / "bad.json")
    image = read_coco(stored(tmp_path, GOOD))[0]
    with pytest.raises(Mistake, match="missing or no image"):
        image.pixels()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(Mistake, match="are declared"):
        image.pixels()


def test_collect_writes_labelled_images(tmp_path, capsys):
    out = tmp_path / "seen"
    flags = ["--env", "embodia/PointNav-v0", "--episodes", "2", "--num-scenes", "1", "--detail", "low"]
    flags += ["--labels", "--labels-every", "3", "--out", str(out)]
    assert main(["collect", "random", *flags]) == 0
    assert "labelled images" in capsys.readouterr().out
    found = read_coco(out / "labels" / "instances.json")
    assert len(found) >= 2
    assert found[0].pixels().shape == (256, 256, 3)
    assert found[0].masks().any()
    assert {record["step"] % 3 for record in found.images} == {0}


def test_worlds_without_labels(tmp_path, capsys):
    flags = ["--env", "embodia/MiniGrid-Empty-5x5-v0", "--episodes", "1", "--out", str(tmp_path / "seen")]
    assert main(["collect", "random", *flags, "--labels"]) == 2
    assert "--labels" in capsys.readouterr().err
