"""`embodia probe RUN`: what a pretrained encoder's frozen features know, beside a random encoder and bare pixels."""

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

Array = NDArray[Any]
KEPT = Path("runs/walks")


@dataclass(frozen=True)
class Args:
    """Linear probe, nearest neighbours and regression on frozen features, beside their controls."""

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain`, or a folder with encoder.json."""
    encoder: str | None = None
    """The run's encoder, where that is a class of your own: module:Class."""
    data: str = "homes"
    """homes: walks through generated homes of the test split, with room, things in view, distance and own motion. Or a
    folder with one folder of pictures for each class."""
    homes: int = 16
    """Of homes: how many; probes are fitted in one half and tested in the other."""
    walks: int = 4
    """Of homes: walks in each."""
    steps: int = 30
    """Of homes: frames of a walk."""
    seed: int = 0
    """Of the random control and of how a folder is divided."""
    json: bool = False
    """End with one JSON object."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia probe")
    named = ("encoder", args.encoder) if args.encoder else OWN
    encoder = pretrained(args.run, named=named)
    height, width, channels = next(iter(encoder.space.values())).shape or (0, 0, 0)
    if channels != 3 or height != width:
        raise Mistake(f"{args.run} reads {height}x{width} pictures of {channels} channels; probes show square RGB ones")
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
    """On homes of the test split, from which `embodia collect` gives no training episode."""
    seen = walks("test", args.homes, args.walks, args.steps, size, kept=KEPT)
    readers["pixels"] = pixels(seen, args.homes)
    room = seen.room[seen.room >= 0]
    said = f"most common room {np.bincount(room).max() / len(room):.3f}, area under ROC of chance 0.5"
    print(f"{args.homes} homes, {seen.room.size:,} frames; {said}")
    return {who: {name: scores_of[name] for name in SCORES} for who, scores_of in scored(readers, seen, args.homes)}


def scored(readers: dict[str, Read], seen: Any, homes: int) -> Any:
    for who, read in readers.items():
        print(f"probing {who}", file=sys.stderr, flush=True)
        yield who, scores(read, seen, homes)


def class_rows(args: Args, readers: dict[str, Read], size: int) -> dict[str, dict[str, float]]:
    """On a folder of classes, half of the pictures of each for fitting."""
    pictures, labels = labelled(Path(args.data), size)
    order = np.random.default_rng(args.seed).permutation(len(labels))
    fit, test = order[: len(order) // 2], order[len(order) // 2 :]
    halved = F.avg_pool2d(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255, 2)
    mean, axes = principal_axes(halved[fit], min(64, len(fit)))
    found: dict[str, Tensor] = {who: read(pictures)[0] for who, read in readers.items()}
    found["pixels"] = (halved.flatten(1) - mean) @ axes
    classes = torch.from_numpy(labels)
    print(f"{len(labels):,} pictures of {labels.max() + 1} classes, half of them for fitting")
    return {
        who: {
            "linear": linear_probe(each[fit], classes[fit], each[test], classes[test]),
            "knn": knn_probe(each[fit], classes[fit], each[test], classes[test]),
        }
        for who, each in found.items()
    }


def labelled(folder: Path, size: int) -> tuple[Array, Array]:
    """Pictures (n, size, size, 3) uint8 and classes (n,), one class for each folder in it. Raises Mistake."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    pictures, labels = [], []
    for label, each in enumerate(classes):
        for path in sorted(path for path in each.iterdir() if path.suffix.lower() in PICTURES):
            try:
                pictures.append(read_picture(path, size))
                labels.append(label)
            except BadFile as error:
                print(f"passed over: {error}", file=sys.stderr)
    if len(set(labels)) < 2:
        raise Mistake(f"--data {folder}: give `homes`, or a folder with one folder of pictures for each of its classes")
    return np.stack(pictures), np.array(labels)
