"""`embodia pretrain segmenter` and `embodia segment`: training, resuming, drawings, user errors."""

import json

import av
import cv2
import numpy as np
import pytest

from embodia.perception.pictures.rosettes import rosettes
from embodia.scripts.data.coco import run_lengths
from embodia.scripts.main import main
from embodia.scripts.report.video import Video

SMALL = ["--data.size", "24", "24", "--method.width", "8", "--training.batch-size", "4"]


def labelled(folder, n=20, **changes):
    """A COCO set of plants, whose leaves are of two categories, in images of 32 x 48 pixels."""
    folder.mkdir()
    scenes = rosettes(n, 0, 32, (3, 4))
    images, rows = [], []
    for i, (picture, labels) in enumerate(zip(scenes.images, scenes.labels, strict=True)):
        wide, masks = (np.pad(each, ((0, 0), (0, 16), (0, 0))[: each.ndim]) for each in (picture, labels))
        cv2.imwrite(str(folder / f"{i:02d}.png"), wide[..., ::-1])
        images.append({"id": i, "file_name": f"{i:02d}.png", "height": 32, "width": 48})
        for k in range(1, labels.max() + 1):
            rows.append({"id": len(rows), "image_id": i, "category_id": 1 + k % 2, "bbox": [0, 0, 9, 9],
                         "segmentation": run_lengths(masks == k)})  # fmt: skip
    categories = [{"id": 1, "name": "leaf"}, {"id": 2, "name": "petal"}]
    content = {"images": images, "annotations": rows, "categories": categories} | changes
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("segmenter") / "plants")


@pytest.fixture(scope="module", params=["segmenter", "recurrent-instances"])
def run(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    assert main(["pretrain", request.param, "--data", str(data), "--out", str(folder), "--steps", "3", *SMALL]) == 0
    return folder


def test_a_segmenter_trains_and_resumes(run, capsys):
    assert main(["pretrain", "--resume", str(run), "--steps", "4"]) == 0
    said = capsys.readouterr().out
    assert "update 4: mean_iou 0." in said
    assert f"embodia segment {run} --data PATH" in said


def test_it_draws_images_label_maps_and_instances(run, data, tmp_path, capsys):
    assert main(["segment", str(run), "--data", str(data), "--out", str(tmp_path / "out"), "--scale", "2"]) == 0
    said = capsys.readouterr().out
    assert "20 images in" in said
    assert "share of pixels: background" in said
    drawing = cv2.imread(str(tmp_path / "out" / "0003-03.png"))
    assert drawing.shape == (64, 2 * 3 * 48, 3)
    image = cv2.imread(str(data / "03.png"))
    assert (drawing[::2, :96:2] == image).all()


def test_it_draws_videos(run, tmp_path):
    with Video(tmp_path / "film.mp4", 10) as video:
        for picture in rosettes(6, 1, 32, (3, 4)).images:
            video.add(picture)
    out = tmp_path / "out"
    assert main(["segment", str(run), "--data", str(tmp_path / "film.mp4"), "--frames", "4", "--out", str(out)]) == 0
    with av.open(str(out / "film.mp4")) as found:
        frames = [frame.to_ndarray(format="rgb24") for frame in found.decode(video=0)]
    assert len(frames) == 4
    assert frames[0].shape == (96, 288, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [], "annotations": []}, "lists no images; there is nothing to learn from"),
        ({"annotations": []}, "no image to learn from shows an object of leaf, petal"),
    ],
)
def test_sets_without_images_or_objects_are_refused(changes, message, tmp_path, capsys):
    path = labelled(tmp_path / "set", 2, **changes)
    assert main(["pretrain", "segmenter", "--data", str(path), "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_annotations_without_masks_are_refused(data, tmp_path, capsys):
    content = json.loads((data / "instances.json").read_text())
    for row in content["annotations"]:
        del row["segmentation"]
    path = labelled(tmp_path / "set", 4)
    (path / "instances.json").write_text(json.dumps(content | {"images": content["images"][:4],
        "annotations": [row for row in content["annotations"] if row["image_id"] < 4]}))  # fmt: skip
    arguments = ["pretrain", "segmenter", "--data", str(path), "--out", str(tmp_path / "run"), "--steps", "1", *SMALL]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "segmentation is missing; expected run lengths" in said


def test_a_run_that_is_no_segmenter_is_named(tmp_path, capsys):
    (tmp_path / "image.png").write_bytes(b"")
    assert main(["segment", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
