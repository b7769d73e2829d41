"""`embodia track RUN`: join a detector's boxes into tracks through videos or episodes; draw and score them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import islice
from operator import add
from pathlib import Path

import numpy as np
import tyro

from embodia.agents import Array
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.tracking import Tracked
from embodia.perception.structured.tracking.appearance import Embed, by_colour, by_encoder, crops
from embodia.perception.structured.tracking.optical_flow import optical_flow
from embodia.perception.structured.tracking.sort import Sort, SortConfig
from embodia.perception.structured.tracking.tracking_scores import Counts, Scene
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.detectors import load
from embodia.scripts.assembly.image_encoders import pictures_of, pretrained
from embodia.scripts.commands.detect import detections
from embodia.scripts.data import sequences
from embodia.scripts.data.coco import CocoSet
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.box_picture import drawn
from embodia.scripts.report.video import Video


@dataclass(frozen=True)
class Args:
    """Track what a detector finds.

    Each video or episode gives a video with numbered boxes and a text file in MOTChallenge's format: frame, track,
    left, top, width, height, score, category (from 1), -1, -1. The episodes of `embodia collect --labels` are
    also scored.
    """

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain detector`."""
    data: Path
    """Videos, recorded episodes, or a COCO file whose images are frames of episodes."""
    appearance: str = "colour"
    """What recognises objects after an occlusion: colour, none, or a run of `embodia pretrain` with an encoder of one
    colour image."""
    flow: bool = False
    """Let optical flow move the tracks from frame to frame, for cameras that move quickly."""
    tracker: SortConfig = field(default_factory=SortConfig)
    key: str | None = None
    """Observation key of the image in recorded episodes; by default the first colour image."""
    fps: float = 10.0
    """Frames per second, both read from a video and shown."""
    films: int = 2
    """Maximum number of videos or episodes that are drawn; those of a COCO file are all scored."""
    frames: int = 200
    """Maximum number of frames per video."""
    out: Path | None = None
    """Output folder; by default a new folder in the run."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia track")
    at_least_one(films=args.films, frames=args.frames)
    if args.fps <= 0:
        raise Mistake(f"--fps {args.fps:g} must be positive")
    trained, embed = load(args.run), embedding(args.appearance)
    found = sequences.pictures(args.data, args.fps, args.key)
    moving = episodes_of(found.coco) if found.coco else [each for each in found.sequences if each.moving]
    if not moving:
        raise Mistake(f"--data {args.data}: single images have no tracks; give videos, episodes, or labelled episodes")
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / "tracks")
    scored: list[Counts] = []
    for number, sequence in enumerate(moving if found.coco else moving[: args.films]):
        frames = islice(sequence.frames(), args.frames)
        pairs = tracked(args, detections(trained.detector, frames, sequence.name), embed)
        if number < args.films:
            pairs = drawing(args, sequence.name, trained.detector, pairs, folder)
        tracks = [each for _, each in pairs]
        (folder / f"{sequence.name}.txt").write_text("".join(lines(tracks)))
        if found.coco:
            scored.append(against(found.coco, int(sequence.name.removeprefix("episode-")), tracks, trained.detector))
    if scored and sum(each.objects for each in scored):
        print("  ".join(f"{name} {value:.3f}" for name, value in reduce(add, scored).scores().items()))
    return 0


def embedding(named: str) -> tuple[Embed, int] | None:
    """Return the embedding of an appearance option, and the side of its images; None for no appearance."""
    if named == "none":
        return None
    if named == "colour":
        return by_colour, 16
    ((key, space),) = pictures_of(named).items()
    height, width, *channels = space.shape or (0,)
    if height != width or channels != [3]:
        raise Mistake(
            f"--appearance {named}: {key} has shape {space.shape}; pretrain an encoder on square colour images"
        )
    return by_encoder(pretrained(named).eval()), height


def episodes_of(coco: CocoSet) -> list[sequences.Sequence]:
    """Return the episodes of a COCO set whose images name their `seed` and `step`. Raises Mistake if they do not."""
    if not all("seed" in image and "step" in image for image in coco.images):
        raise Mistake(
            f"{coco.path}: images need `seed` and `step` to be tracked; `embodia collect --labels` writes them"
        )
    seeds = dict.fromkeys(image["seed"] for image in coco.images)
    return [sequences.Sequence(f"episode-{seed}", True, partial(episode, coco, seed)) for seed in seeds]


def places(coco: CocoSet, seed: int) -> list[int]:
    """Return the indices of an episode's images, in order of time."""
    chosen = [i for i, image in enumerate(coco.images) if image["seed"] == seed]
    return sorted(chosen, key=lambda i: coco.images[i]["step"])


def episode(coco: CocoSet, seed: int) -> Iterator[tuple[str, Array]]:
    for i in places(coco, seed):
        yield coco[i].path.name, coco[i].pixels()


def tracked(
    args: Args, found: Iterable[tuple[str, Array, Detections]], embed: tuple[Embed, int] | None
) -> Iterator[tuple[Array, Tracked]]:
    """Yield the pixels and the tracked objects of each frame."""
    tracker, before = Sort(args.tracker), None
    for _, picture, each in found:
        features = embed[0](crops(picture, each.boxes, embed[1])) if embed else None
        flow = optical_flow(before, picture) if args.flow and before is not None else None
        yield picture, tracker.step(each, features, flow)
        before = picture


def drawing(
    args: Args, name: str, model: Detector, pairs: Iterable[tuple[Array, Tracked]], folder: Path
) -> Iterator[tuple[Array, Tracked]]:
    """Write the video of a sequence while its frames pass."""
    with Video(folder / f"{name}.mp4", round(args.fps)) as video:
        for picture, each in pairs:
            words = [f"{number} {model.categories[label]}" for number, label in zip(each.ids, each.labels)]
            video.add(drawn(picture, each.boxes, words, each.ids.tolist()))
            yield picture, each
    print(folder / f"{name}.mp4", f"{video.frames} frames")


def lines(tracks: Sequence[Tracked]) -> Iterator[str]:
    """Yield the lines of MOTChallenge's format."""
    for frame, each in enumerate(tracks, start=1):
        for (left, top, right, bottom), number, label, score in zip(each.boxes, each.ids, each.labels, each.scores):
            box = f"{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}"
            yield f"{frame},{number},{box},{score:.4f},{label + 1},-1,-1\n"


def against(coco: CocoSet, seed: int, tracks: Sequence[Tracked], model: Detector) -> Counts:
    """Count the tracks of an episode against the annotated objects of the detector's categories.

    Raises:
        Mistake: if an annotation has no `track_id`.
    """
    boxes, ids = [], []
    for i in places(coco, seed)[: len(tracks)]:
        image = coco[i]
        rows = [k for k, label in enumerate(image.labels) if coco.categories[int(label)] in model.categories]
        if not all("track_id" in image.records[k] for k in rows):
            raise Mistake(f"{image.where}: an annotation has no `track_id`; tracks cannot be scored without")
        boxes.append(image.boxes[rows])
        ids.append(np.array([image.records[k]["track_id"] for k in rows], np.int64))
    return Scene(boxes, ids, [each.boxes for each in tracks], [each.ids for each in tracks]).counts()
