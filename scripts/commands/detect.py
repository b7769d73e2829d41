"""`embodia detect RUN`: draw the boxes of a trained detector on images, videos or episodes; write COCO results."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro

from embodia.agents import Array
from embodia.perception.structured.detection import Boxes, Detections, Detector
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.detectors import load
from embodia.scripts.commands.models.pretrain_detector import PIECE, predicted
from embodia.scripts.data import sequences
from embodia.scripts.data.labelled import letterbox
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.box_picture import drawn
from embodia.scripts.report.progress import Progress
from embodia.scripts.report.video import Video


@dataclass(frozen=True)
class Args:
    """Apply a detector to images, videos, episodes or a COCO set.

    The results are drawings (an image for each image, a video for each video or episode), results.json in COCO's format
    for detections, and images.json, which lists the images and categories. A COCO set is also evaluated.
    """

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain detector`."""
    data: Path
    """Images, videos, recorded episodes, or a COCO file."""
    lowest: float = 0.3
    """Smallest score of boxes that are drawn. The results contain all."""
    key: str | None = None
    """Observation key of the image in recorded episodes; by default the first colour image."""
    fps: float = 10.0
    """Frames per second, both read from a video and shown."""
    films: int = 2
    """Maximum number of videos or episodes."""
    frames: int = 200
    """Maximum number of frames per video."""
    images: int = 50
    """Maximum number of images that are drawn."""
    out: Path | None = None
    """Output folder; by default a new folder in the run."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia detect")
    at_least_one(films=args.films, frames=args.frames, images=args.images)
    if args.fps <= 0:
        raise Mistake(f"--fps {args.fps:g} must be positive")
    trained = load(args.run)
    found = sequences.pictures(args.data, args.fps, args.key)
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / "detections")
    ids = [record["id"] for record in found.coco.images] if found.coco else None
    results = Results(trained.detector.categories, known_categories(found, trained.detector), ids)
    for sequence in found.sequences[: args.films]:
        frames = islice(sequence.frames(), args.frames) if sequence.moving else sequence.frames()
        draw(args, sequence, detections(trained.detector, frames, sequence.name), results, folder)
    print(results.write(folder))
    if found.coco:
        print(evaluated(found.coco, results, trained.detector))
    return 0


def known_categories(found: sequences.Pictures, model: Detector) -> list[int]:
    """Return the id of each category: that of the COCO set if it has all of them, else counted from 1."""
    ids = {name: i for i, name in found.coco.categories.items()} if found.coco else {}
    if all(name in ids for name in model.categories):
        return [ids[name] for name in model.categories]
    if found.coco and not set(ids) & set(model.categories):
        theirs = ", ".join(model.categories)
        raise Mistake(f"{found.coco.path} has none of the detector's categories ({theirs}); rename them there")
    free = iter(sorted(set(range(1, 1 + len(ids) + len(model.categories))) - set(ids.values())))
    return [ids[name] if name in ids else next(free) for name in model.categories]


def detections(
    model: Detector, frames: Iterable[tuple[str, Array]], name: str
) -> Iterator[tuple[str, Array, Detections]]:
    """Yield name, pixels and detections of each image, in the image's own pixels."""
    frames, done = iter(frames), 0
    progress = Progress(f"detecting in {name}", 0, "images")
    while piece := list(islice(frames, PIECE)):
        fits = [letterbox(picture.shape[:2], model.size) for _, picture in piece]
        found = predicted(model, [fit.image(picture) for fit, (_, picture) in zip(fits, piece)])
        for fit, (title, picture), each in zip(fits, piece, found):
            yield title, picture, fit.back(each, picture.shape[:2])
        done += len(piece)
        progress.total = done
        progress.reach(done)


def draw(
    args: Args,
    sequence: sequences.Sequence,
    found: Iterable[tuple[str, Array, Detections]],
    results: "Results",
    folder: Path,
) -> None:
    """Collect the results of a sequence, and write its drawings."""
    if sequence.moving:
        with Video(folder / f"{sequence.name}.mp4", round(args.fps)) as video:
            for title, picture, each in found:
                results.add(f"{sequence.name}/{title}", picture, each)
                video.add(annotated(picture, each, results.names, args.lowest))
        print(folder / f"{sequence.name}.mp4", f"{video.frames} frames")
        return
    count = 0
    for title, picture, each in found:
        results.add(title, picture, each)
        if count < args.images:
            path = folder / f"{count:04d}-{Path(title).stem}.png"
            cv2.imwrite(str(path), annotated(picture, each, results.names, args.lowest)[..., ::-1])
            count += 1
    print(f"{count} images in {folder}")


def annotated(picture: Array, found: Detections, names: Sequence[str], lowest: float) -> Array:
    shown = found.scores >= lowest
    labels = found.labels[shown]
    words = [f"{names[label]} {score:.2f}" for label, score in zip(labels, found.scores[shown])]
    return drawn(picture, found.boxes[shown], words, labels.tolist())


@dataclass
class Results:
    """Detections in COCO's format."""

    names: Sequence[str]
    category_ids: Sequence[int]
    ids: Sequence[int] | None
    """Ids of the images in their order; by default counted from 0."""
    images: list[dict[str, Any]] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)

    def add(self, name: str, picture: Array, found: Detections) -> None:
        number = len(self.images) if self.ids is None else self.ids[len(self.images)]
        height, width = picture.shape[:2]
        self.images.append({"id": number, "file_name": name, "height": height, "width": width})
        self.found.append(found)

    def rows(self) -> Iterator[dict[str, Any]]:
        for image, found in zip(self.images, self.found):
            for (left, top, right, bottom), score, label in zip(found.boxes.tolist(), found.scores, found.labels):
                yield {
                    "image_id": image["id"],
                    "category_id": self.category_ids[label],
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(score),
                }

    def write(self, folder: Path) -> str:
        rows = list(self.rows())
        (folder / "results.json").write_text(json.dumps(rows))
        categories = [{"id": i, "name": name} for i, name in zip(self.category_ids, self.names)]
        (folder / "images.json").write_text(json.dumps({"images": self.images, "categories": categories}))
        return f"{len(rows)} detections in {len(self.images)} images: {folder / 'results.json'}"


def evaluated(coco: Any, results: Results, model: Detector) -> str:
    """Return the scores against a COCO set's annotations, in words."""
    number = {i: k for k, i in enumerate(results.category_ids)}
    truth = []
    for i in range(len(coco)):
        labels = np.array([number.get(int(label), -1) for label in coco[i].labels], np.int64)
        truth.append(Boxes(coco[i].boxes[labels >= 0], labels[labels >= 0], coco[i].crowd[labels >= 0]))
    if not sum(len(each.labels) for each in truth):
        return "no annotated object of the detector's categories, so there is no score"
    scores = MeanAveragePrecision(results.found, truth, len(model.categories)).scores()
    return "  ".join(f"{name} {scores[name]:.3f}" for name in ("AP", "AP50", "AP75", "AR100"))
