"""`embodia pretrain detector`, `detect` and `track`: training, resuming, results on images and videos, user errors."""

import json

import av
import cv2
import numpy as np
import pytest

from embodia.perception.pictures.shape_scenes import NAMES, shape_scenes
from embodia.scripts.data.coco import read_coco
from embodia.scripts.main import main
from embodia.scripts.report.video import Video

SMALL = ["--data.size", "32", "32", "--method.width", "8", "--method.dim", "32", "--method.stages", "3",
         "--method.stride", "4", "--training.batch-size", "8"]  # fmt: skip


def labelled(folder, n=30):
    """A COCO set of shapes in images of 32 x 48 pixels."""
    folder.mkdir()
    scenes = shape_scenes(n, 0, objects=(1, 1), size=32)
    images, rows = [], []
    for i, (picture, (boxes, labels, _)) in enumerate(zip(*scenes)):
        wide = np.pad(picture, ((0, 0), (0, 16), (0, 0)), mode="edge")
        cv2.imwrite(str(folder / f"{i:02d}.png"), wide[..., ::-1])
        images.append({"id": 100 + i, "file_name": f"{i:02d}.png", "height": 32, "width": 48})
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist()):
            box = [left, top, right - left, bottom - top]
            rows.append({"id": len(rows), "image_id": 100 + i, "category_id": label + 1, "bbox": box})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    content = {"images": images, "annotations": rows, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    data, run = labelled(folder / "shapes"), folder / "run"
    arguments = ["pretrain", "detector", "--data", str(data), "--out", str(run), "--steps", "6", *SMALL]
    assert main(arguments) == 0
    return data, run


def test_a_detector_trains_and_resumes(trained, capsys):
    _, run = trained
    assert main(["pretrain", "--resume", str(run), "--steps", "8"]) == 0
    said = capsys.readouterr().out
    assert "update 8: AP50" in said
    assert f"embodia detect {run}" in said
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("eval/AP50" in line for line in lines)


def test_results_of_a_coco_set_are_coco_results(trained, tmp_path, capsys):
    data, run = trained
    assert main(["detect", str(run), "--data", str(data), "--out", str(tmp_path / "out"), "--images", "3"]) == 0
    said = capsys.readouterr().out
    assert "AP50 0." in said
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    listed = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [image["id"] for image in listed["images"]] == list(range(100, 130))
    assert {each["name"]: each["id"] for each in listed["categories"]} == {n: k + 1 for k, n in enumerate(NAMES)}
    for row in rows:
        left, top, width, height = row["bbox"]
        assert min(left, top) >= 0 and left + width <= 48.001 and top + height <= 32.001  # noqa: PT018
        assert 100 <= row["image_id"] < 130 and 1 <= row["category_id"] <= 10  # noqa: PT018
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_own_pictures_and_videos_are_drawn(trained, tmp_path, capsys):
    _, run = trained
    (tmp_path / "films").mkdir()
    with Video(tmp_path / "films" / "walk.mp4", 10) as video:
        for picture in shape_scenes(5, 1).images:
            video.add(picture)
    assert main(["detect", str(run), "--data", str(tmp_path / "films"), "--out", str(tmp_path / "out")]) == 0
    with av.open(str(tmp_path / "out" / "walk.mp4")) as film:
        assert len(list(film.decode(video=0))) == 5
    cv2.imwrite(str(tmp_path / "one.png"), shape_scenes(1, 1).images[0])
    assert main(["detect", str(run), "--data", str(tmp_path / "one.png"), "--out", str(tmp_path / "one"),
                 "--lowest", "0"]) == 0  # fmt: skip
    assert cv2.imread(str(tmp_path / "one" / "0000-one.png")).shape == (512, 512, 3)


def test_user_errors(trained, tmp_path, capsys):
    data, run = trained
    (tmp_path / "empty").mkdir()
    assert main(["detect", str(run), "--data", str(tmp_path / "empty")]) == 2
    assert "no image" in capsys.readouterr().err
    assert main(["detect", str(tmp_path), "--data", str(data)]) == 2
    assert "is not a run" in capsys.readouterr().err
    (tmp_path / "empty" / "broken.png").write_bytes(b"")
    assert main(["detect", str(run), "--data", str(tmp_path / "empty")]) == 2
    assert "broken.png: cannot be decoded" in capsys.readouterr().err
    content = json.loads((data / "instances.json").read_text())
    other = {**content, "categories": [{"id": k + 1, "name": f"thing {k}"} for k in range(10)]}
    (data / "other.json").write_text(json.dumps(other))
    assert main(["detect", str(run), "--data", str(data / "other.json")]) == 2
    assert "has none of the detector's categories" in capsys.readouterr().err
    (data / "other.json").unlink()
    del content["images"][3]["height"]
    (data / "broken.json").write_text(json.dumps(content))
    assert main(["pretrain", "detector", "--data", str(data / "broken.json")]) == 2
    assert "images[3] has no `height`" in capsys.readouterr().err
    (data / "broken.json").unlink()
    assert main(["pretrain", "detector", "--data", str(data), "--method.stride", "5"]) == 2
    assert "stride 5: choose one of 4, 8, 16" in capsys.readouterr().err
    assert len(read_coco(data / "instances.json")) == 30


def walk(folder, name="walk.mp4", frames=6):
    """A video of one shape that moves to the right."""
    folder.mkdir(exist_ok=True)
    picture = shape_scenes(1, 1, objects=(1, 1), size=32).images[0]
    with Video(folder / name, 10) as video:
        for k in range(frames):
            video.add(np.roll(picture, 2 * k, 1))
    return folder


@pytest.mark.parametrize("more", [[], ["--appearance", "none", "--flow"]])
def test_videos_are_tracked(trained, tmp_path, more):
    _, run = trained
    films, out = walk(tmp_path / "films"), tmp_path / "out"
    assert main(["track", str(run), "--data", str(films), "--out", str(out), "--tracker.lowest", "0.0", *more]) == 0
    with av.open(str(out / "walk.mp4")) as film:
        assert len(list(film.decode(video=0))) == 6
    for line in (out / "walk.txt").read_text().splitlines():
        frame, number, *box, score, label, x, y = map(float, line.split(","))
        assert 1 <= frame <= 6 and number >= 1 and len(box) == 4 and 0 <= score <= 1  # noqa: PT018
        assert 1 <= label <= 10 and x == y == -1  # noqa: PT018


def test_labelled_episodes_are_scored_and_single_images_refused(trained, tmp_path, capsys):
    data, run = trained
    content = json.loads((data / "instances.json").read_text())
    assert main(["track", str(run), "--data", str(data)]) == 2
    assert "images need `seed` and `step`" in capsys.readouterr().err
    for k, image in enumerate(content["images"]):
        image |= {"seed": k // 15, "step": k % 15}
    (data / "untracked.json").write_text(json.dumps(content))
    assert main(["track", str(run), "--data", str(data / "untracked.json")]) == 2
    assert "has no `track_id`" in capsys.readouterr().err
    (data / "untracked.json").unlink()
    for row in content["annotations"]:
        row["track_id"] = 1
    (data / "episodes.json").write_text(json.dumps(content))
    asked = ["track", str(run), "--data", str(data / "episodes.json"), "--out", str(tmp_path / "out"), "--films", "1"]
    assert main(asked) == 0
    (data / "episodes.json").unlink()
    assert "HOTA 0." in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "episode-0.mp4",
        "episode-0.txt",
        "episode-1.txt",
    ]
    cv2.imwrite(str(tmp_path / "one.png"), shape_scenes(1, 1).images[0])
    assert main(["track", str(run), "--data", str(tmp_path / "one.png")]) == 2
    assert "single images have no tracks" in capsys.readouterr().err
