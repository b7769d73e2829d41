"""Image encoders by name: built fresh, or read from what `embodia pretrain` wrote."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
from gymnasium import Space, spaces
from safetensors.torch import load_file

from embodia.agents.training import checkpoint
from embodia.agents.training.pretraining import ABOUT, ENCODER
from embodia.agents.training.spaces import space_from_json, space_to_json
from embodia.agents.training.versions import versions
from embodia.perception import Encoder
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.nature_cnn import NatureCNN
from embodia.perception.encoders.observation import kind
from embodia.perception.encoders.patch_cnn import PatchCNN
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.slot_attention import SlotAutoEncoder
from embodia.scripts.assembly.renamed import renamed
from embodia.scripts.mistake import Mistake

ImageKind = Literal["resnet", "nature_cnn", "patch_cnn", "vit", "conv", "slot_attention"]
IMAGE: dict[str, Callable[..., Encoder]] = {
    "resnet": ResNet,
    "nature_cnn": NatureCNN,
    "patch_cnn": PatchCNN,
    "vit": ViT,
    "conv": ConvNet,
    "slot_attention": SlotAutoEncoder,
}


@dataclass(frozen=True)
class ImageConfig:
    """An image encoder."""

    net: ImageKind = "resnet"
    """Which network; attention maps need vit, MAE too; slot-attention is a network and a method."""
    dim: int = 128
    """Width of a token; of conv the last width, of resnet the projection."""
    width: int = 32
    """Channels of the first stage of resnet and conv, of all of slot_attention."""
    patch_size: int = 8
    """Side of a patch of vit [pixels]."""
    depth: int = 4
    """Blocks of vit."""
    num_heads: int = 4
    """Attention heads of vit."""
    pool: Literal["cls", "mean"] = "cls"
    """What stands for a whole picture in vit: the class token, or the patches' mean, which MAE needs."""
    num_slots: int = 6
    """Of slot_attention: how many objects there may be, the ground among them."""


def make(config: ImageConfig, space: spaces.Dict) -> ImageEncoder:
    """A fresh one for the pictures of `space`. Raises Mistake where it cannot read them."""
    c = config
    settings: dict[str, dict[str, Any]] = {
        "resnet": {"dim": c.dim, "width": c.width, "tokens": "grid"},
        "nature_cnn": {"dim": c.dim},
        "patch_cnn": {"dim": c.dim},
        "vit": {"dim": c.dim, "patch_size": c.patch_size, "depth": c.depth, "num_heads": c.num_heads, "pool": c.pool},
        "conv": {"widths": (c.width, 2 * c.width, 2 * c.width, 4 * c.width, c.dim), "strides": strides(space)},
        "slot_attention": {"dim": c.dim, "width": c.width, "num_slots": c.num_slots},
    }
    try:
        made = IMAGE[c.net](space, **settings[c.net])
    except ValueError as error:
        raise Mistake(f"encoder.net {c.net}: {error}") from error
    assert isinstance(made, ImageEncoder)
    return made


def strides(space: spaces.Dict) -> tuple[int, ...]:
    """Of conv: one halving more for pictures of 64 pixels and above."""
    side = min((next(iter(space.values())).shape or (0,))[:2])
    return (1, 2, 1, 2, 2) if side < 64 else (2, 2, 1, 2, 2)


def describe(encoder: ImageConfig, space: spaces.Dict, **more: Any) -> dict[str, Any]:
    """What `encoder.json` holds: enough to build the encoder again, and where it comes from."""
    return {"encoder": vars(encoder), "space": space_to_json(space), **more, "versions": versions()}


# What was pretrained ----------------------------------------------------------------------------------------------


def find(where: str | Path) -> Path:
    """The folder of `encoder.json`: itself, or the newest whole checkpoint of a run. Raises Mistake."""
    folder = Path(where)
    if (folder / ABOUT).is_file():
        return folder
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is not None and (newest / ABOUT).is_file():
        return newest
    raise Mistake(f"encoder.pretrained {where}: no {ABOUT} there, nor in its checkpoints; `embodia pretrain` makes one")


def about(folder: Path) -> dict[str, Any]:
    """What `encoder.json` says. Raises Mistake where it cannot be read."""
    path = folder / ABOUT
    try:
        found = json.loads(path.read_text())
        found["encoder"] = renamed("ImageConfig", found["encoder"])
        ImageConfig(**found["encoder"])
        space_from_json(found["space"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} cannot be read ({error}); pretrain again, or take it from a whole run") from error
    return found


def pictures_of(where: str | Path) -> spaces.Dict:
    """What the encoder that lies there learnt from: one key. Raises Mistake."""
    found = space_from_json(about(find(where))["space"])
    assert isinstance(found, spaces.Dict)
    return found


def pretrained(where: str | Path, space: spaces.Dict | None = None) -> ImageEncoder:
    """The encoder that lies there, for pictures of `space` (one key, of any name); by default those it learnt from.

    Raises:
        Mistake: naming file and field where it is missing or does not fit.
    """
    folder = find(where)
    said = about(folder)
    learnt_from: Any = space_from_json(said["space"])
    made = make(ImageConfig(**said["encoder"]), space or learnt_from)
    try:
        weights = load_file(folder / ENCODER)
    except Exception as error:
        raise Mistake(f"{folder / ENCODER} cannot be read ({error}); use an earlier checkpoint") from error
    ours = made.state_dict()
    if "position" in weights:  # as it was called in earlier versions
        weights["pos_embed"] = weights.pop("position")
    if "pos_embed" in weights and weights["pos_embed"].shape[2:] != ours["pos_embed"].shape[2:]:
        weights["pos_embed"] = F.interpolate(weights["pos_embed"], ours["pos_embed"].shape[2:], mode="bicubic")
    for name in sorted({*ours, *weights}):
        theirs, mine = (tuple(each[name].shape) if name in each else None for each in (weights, ours))
        if theirs != mine:
            raise Mistake(
                f"{folder / ENCODER}: {name} is {theirs}, and pictures {_shapes(made.space)} need {mine}: it learnt "
                f"from {_shapes(learnt_from)}; observe such pictures, or pretrain on these"
            )
    made.load_state_dict(weights)
    return made


def _shapes(space: spaces.Dict) -> str:
    return ", ".join("x".join(map(str, each.shape or ())) for each in space.values())


def matching_key(where: str | Path, observed: spaces.Dict, keys: tuple[str, ...]) -> str:
    """Which of the observed keys a pretrained encoder reads: its own, or the only one of its kind and channels.

    Raises:
        Mistake: where there is none or more than one.
    """
    learnt_from = pictures_of(where)
    ((name, picture),) = learnt_from.items()
    fits = [key for key in keys if alike(observed[key], picture)]
    if name in fits:
        return name
    if len(fits) != 1:
        said = f"{' and '.join(fits)} both are" if fits else f"none of {', '.join(keys)} is"
        raise Mistake(f"encoder.pretrained {where} reads {name}, {kind(picture)} {_shapes(learnt_from)}; {said} such")
    return fits[0]


def alike(one: Space[Any], other: Space[Any]) -> bool:
    """Both pictures, or both depth, of as many channels."""
    same = kind(one) == kind(other) and kind(one) in ("image", "depth")
    return same and (one.shape or ())[2:] == (other.shape or ())[2:]


def picture_space(shape: tuple[int, int, int], key: str = "rgb") -> spaces.Dict:
    return spaces.Dict({key: spaces.Box(0, 255, shape, np.uint8)})
