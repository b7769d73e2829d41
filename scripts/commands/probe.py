"""`embodia probe RUN`: evaluate a pretrained encoder's features beside a random encoder and pixels."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from numpy.typing import NDArray
from torch import Tensor

from embodia.agents.training.rng import seed_all
from embodia.envs.homes.walks import walks
from embodia.perception.scores.probe import knn_probe, linear_probe, principal_axes
from embodia.scripts.assembly.image_encoders import OWN, configuration, image_encoder, pretrained
from embodia.scripts.bench.self_supervision.home_probe import SCORES, Read, pixels, reader, scores
from embodia.scripts.data.frames import PICTURES, BadFile, read_picture
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.progress import Progress, over

Array = NDArray[Any]
KEPT = Path("runs/walks")


@dataclass(frozen=True)
class Args:
    """Evaluate features by linear probe, nearest neighbours and regression, beside a random encoder and pixels."""

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain`, or a folder with encoder.json."""
    encoder: str | None = None
    """The run's encoder as module:Class, if it is your own class."""
    data: str = "homes"
    """homes: walks through generated homes of the test split, with labels for room, visible objects, distance and own
    motion. Or a folder with one subfolder of images per class."""
    homes: int = 16
    """Number of homes (for homes); probes are fitted in one half and tested in the other."""
    walks: int = 4
    """Number of walks per home (for homes)."""
    steps: int = 30
    """Number of frames per walk (for homes)."""
    seed: int = 0
    """Random seed of the random encoder, and of the split of a folder of images."""
    json: bool = False
    """Print the results as one JSON object at the end."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia probe")
    named = ("encoder", args.encoder) if args.encoder else OWN
    encoder = pretrained(args.run, named=named)
    height, width, channels = next(iter(encoder.space.values())).shape or (0, 0, 0)
    if channels != 3 or height != width:
        raise Mistake(f"{args.run} reads {height}x{width} images of {channels} channels; probes need square RGB images")
    seed_all(args.seed)
    fresh = image_encoder(configuration(args.run, named), encoder.space)
    readers = {"pretrained": reader(encoder), "random": reader(fresh)}
    rows = home_rows(args, readers, height) if args.data == "homes" else class_rows(args, readers, height)
    names = list(next(iter(rows.values())))
    print(f"{'':<12}" + "".join(f"{name:>14}" for name in names))
    for who, found in rows.items():
        print(f"{who:<12}" + "".join(f"{found[name]:>14.3f}" for name in names))
    if args.json:
        print(json.dumps({"run": str(args.run), "data": args.data, "rows": rows}))
    return 0


def home_rows(args: Args, readers: dict[str, Read], size: int) -> dict[str, dict[str, float]]:
    """Probe on homes of the test split, which are not used by `embodia collect` with the train split."""
    walked = Progress("walking through homes", args.homes * args.walks, "walks")
    seen = walks("test", args.homes, args.walks, args.steps, size, KEPT, tell=walked.reach)
    readers["pixels"] = pixels(seen, args.homes)
    room = seen.room[seen.room >= 0]
    said = f"share of the most common room {np.bincount(room).max() / len(room):.3f}, chance AUC 0.5"
    print(f"{args.homes} homes, {seen.room.size:,} frames; {said}")
    return {who: {name: scores_of[name] for name in SCORES} for who, scores_of in scored(readers, seen, args.homes)}


def scored(readers: dict[str, Read], seen: Any, homes: int) -> Any:
    for who, read in over(list(readers.items()), "probing", "encoders"):
        yield who, scores(read, seen, homes)


def class_rows(args: Args, readers: dict[str, Read], size: int) -> dict[str, dict[str, float]]:
    """Probe on a folder of image classes; half of the images are used for fitting."""
    pictures, labels = labelled(Path(args.data), size)
    order = np.random.default_rng(args.seed).permutation(len(labels))
    fit, test = order[: len(order) // 2], order[len(order) // 2 :]
    halved = F.avg_pool2d(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255, 2)
    mean, axes = principal_axes(halved[fit], min(64, len(fit)))
    reading = over(list(readers.items()), "probing", "encoders")
    found: dict[str, Tensor] = {who: read(pictures)[0] for who, read in reading}
    found["pixels"] = (halved.flatten(1) - mean) @ axes
    classes = torch.from_numpy(labels)
    print(f"{len(labels):,} images of {labels.max() + 1} classes, half of them for fitting")
    return {
        who: {
            "linear": linear_probe(each[fit], classes[fit], each[test], classes[test]),
            "knn": knn_probe(each[fit], classes[fit], each[test], classes[test]),
        }
        for who, each in found.items()
    }


def labelled(folder: Path, size: int) -> tuple[Array, Array]:
    """Read images (n, size, size, 3) uint8 and classes (n,), one class per subfolder. Raises Mistake."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    pictures, labels = [], []
    for label, each in enumerate(classes):
        for path in sorted(path for path in each.iterdir() if path.suffix.lower() in PICTURES):
            try:
                pictures.append(read_picture(path, size))
                labels.append(label)
            except BadFile as error:
                print(f"skipped: {error}", file=sys.stderr)
    if len(set(labels)) < 2:
        raise Mistake(f"--data {folder}: give `homes`, or a folder with one subfolder of images per class")
    return np.stack(pictures), np.array(labels)
