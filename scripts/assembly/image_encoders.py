"""Image encoders by name: built fresh, or read from what `embodia pretrain` wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from gymnasium import Space, spaces
from safetensors.torch import load_file

from embodia.agents.training import checkpoint
from embodia.agents.training.spaces import space_from_json, space_to_json
from embodia.agents.training.versions import versions
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.observation import kind
from embodia.scripts.assembly.kinds import IMAGE_ENCODER
from embodia.scripts.assembly.parts import build
from embodia.scripts.assembly.provenance import plain
from embodia.scripts.assembly.stored import part
from embodia.scripts.mistake import Mistake

NAME = "encoder"
ENCODER, ABOUT = f"{NAME}.safetensors", f"{NAME}.json"
"""What a pretrained encoder lies in: its weights, and how to build it again."""


def image_encoder(config: Any, space: spaces.Dict) -> ImageEncoder:
    """A fresh one for the pictures of `space`. Raises Mistake where it cannot read them."""
    try:
        return build(IMAGE_ENCODER, config, {"space": lambda: space, "keys": lambda: None})
    except ValueError as error:
        raise Mistake(f"--encoder {IMAGE_ENCODER.name(config)}: {error}") from error


def describe(encoder: Any, space: spaces.Dict, **more: Any) -> dict[str, Any]:
    """What `encoder.json` holds: enough to build the encoder again, and where it comes from."""
    return {"encoder": plain(encoder), "space": space_to_json(space), **more, "versions": versions()}


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
        assert isinstance(found["encoder"], dict)
        space_from_json(found["space"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); pretrain again, or take it from a whole run") from error
    return found


OWN = ("encoder", "")
"""No class of the user's own; one would be named by --encoder."""


def configuration(where: str | Path, named: tuple[str, str] = OWN) -> Any:
    """That of the encoder that lies there.

    Args:
        where: a run of `embodia pretrain`, or a folder with encoder.json.
        named: path of the flag that names a class of the user's own, and what it names.

    Raises:
        Mistake: where it cannot be read, or is a class of the user's own that is not named.
    """
    folder = find(where)
    return part(folder / ABOUT, {"kind": "ImageConfig", **about(folder)["encoder"]}, ImageEncoder, named)


def pictures_of(where: str | Path) -> spaces.Dict:
    """What the encoder that lies there learnt from: one key. Raises Mistake."""
    found = space_from_json(about(find(where))["space"])
    assert isinstance(found, spaces.Dict)
    return found


def pretrained(where: str | Path, space: spaces.Dict | None = None, named: tuple[str, str] = OWN) -> ImageEncoder:
    """The encoder that lies there, for pictures of `space` (one key, of any name); by default those it learnt from.

    Raises:
        Mistake: naming file and field where it is missing or does not fit.
    """
    folder = find(where)
    learnt_from: Any = space_from_json(about(folder)["space"])
    made = image_encoder(configuration(where, named), space or learnt_from)
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
