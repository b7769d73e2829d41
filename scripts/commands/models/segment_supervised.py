"""`embodia segment RUN` for a trained segmenter: image, label map and instances side by side."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from embodia.agents import Array
from embodia.perception.structured.segmentation import Segmenter
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.segmenters import load
from embodia.scripts.commands.models.pretrain_segmenter import PIECE, segmented
from embodia.scripts.data import sequences
from embodia.scripts.data.labelled import letterbox
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.mask_picture import overlaid
from embodia.scripts.report.video import Video


class Asked(Protocol):
    """The options of `embodia segment` that concern a trained segmenter."""

    run: Path
    data: Path
    key: str | None
    films: int
    frames: int
    fps: float
    scale: int
    out: Path | None


def main(args: Any) -> int:
    """Draw what a segmenter finds in images (a drawing each) and in videos or episodes (a video each)."""
    asked: Asked = args
    at_least_one(films=asked.films, frames=asked.frames, scale=asked.scale)
    if asked.fps <= 0:
        raise Mistake(f"--fps {asked.fps:g} must be positive")
    model = load(asked.run).segmenter
    found = sequences.pictures(asked.data, asked.fps, asked.key)
    folder = runs.exactly(asked.out) if asked.out else runs.fresh(asked.run / "segments")
    pixels = np.zeros(len(model.categories), np.int64)
    for sequence in found.sequences[: asked.films]:
        frames = sequence.frames()
        drawings = drawn(model, islice(frames, asked.frames) if sequence.moving else iter(frames), pixels, asked.scale)
        if sequence.moving:
            with Video(folder / f"{sequence.name}.mp4", round(asked.fps)) as video:
                for _, drawing in drawings:
                    video.add(drawing)
            print(folder / f"{sequence.name}.mp4", f"{video.frames} frames")
            continue
        count = 0
        for count, (title, drawing) in enumerate(drawings, start=1):
            cv2.imwrite(str(folder / f"{count - 1:04d}-{Path(title).stem}.png"), drawing[..., ::-1])
        print(f"{count} images in {folder}")
    shares = pixels / max(1, pixels.sum())
    print("share of pixels: " + "  ".join(f"{name} {share:.3f}" for name, share in zip(model.categories, shares)))
    return 0


def drawn(model: Segmenter, frames: Iterator[tuple[str, Array]], pixels: Array, scale: int) -> Iterator[Any]:
    """Yield the name of each image, and the image, its label map and its instances side by side.

    Args:
        model: The segmenter.
        frames: Names and images (H, W, 3).
        pixels: Number of pixels of each class, to which those of the images are added.
        scale: Integer upscaling factor.
    """
    while piece := list(islice(frames, PIECE)):
        fits = [letterbox(picture.shape[:2], model.size) for _, picture in piece]
        maps = segmented(model, np.stack([fit.image(picture) for fit, (_, picture) in zip(fits, piece)]))
        for fit, (title, picture), labels, instances in zip(fits, piece, *maps):
            height, width = picture.shape[:2]
            small = (max(1, round(fit.scale * height)), max(1, round(fit.scale * width)))
            panels = [picture.astype(np.float64)]
            for found in (labels, instances):
                whole = cv2.resize(found[: small[0], : small[1]].astype(np.float64), (width, height),
                                   interpolation=cv2.INTER_NEAREST).astype(np.int64)  # fmt: skip
                panels.append(overlaid(panels[0], whole))
            pixels += np.bincount(labels[: small[0], : small[1]].ravel(), minlength=len(pixels))
            side = np.concatenate(panels, 1).round().astype(np.uint8)
            yield title, side.repeat(scale, 0).repeat(scale, 1)
