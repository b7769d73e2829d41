"""Image encoders: built from a configuration, or loaded from a run of `embodia pretrain`."""

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
"""Files of a pretrained encoder: its weights, and its configuration."""


def image_encoder(config: Any, space: spaces.Dict) -> ImageEncoder:
    """Build an image encoder for the images of `space`. Raises Mistake if it cannot read them."""
    try:
        return build(IMAGE_ENCODER, config, {"space": lambda: space, "keys": lambda: None})
    except ValueError as error:
        raise Mistake(f"--encoder {IMAGE_ENCODER.name(config)}: {error}") from error


def describe(encoder: Any, space: spaces.Dict, **more: Any) -> dict[str, Any]:
    """Return the contents of `encoder.json`: the encoder's configuration and provenance."""
    return {"encoder": plain(encoder), "space": space_to_json(space), **more, "versions": versions()}


def find(where: str | Path) -> Path:
    """Find the folder of `encoder.json`: the folder itself, or a run's newest intact checkpoint. Raises Mistake."""
    folder = Path(where)
    if (folder / ABOUT).is_file():
        return folder
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is not None and (newest / ABOUT).is_file():
        if int(newest.name) == 0:
            raise Mistake(f"{where}: its training stopped before the first update; embodia pretrain --resume {where}")
        return newest
    raise Mistake(f"encoder.pretrained {where}: no {ABOUT} there or in checkpoints; make one with `embodia pretrain`")


def about(folder: Path) -> dict[str, Any]:
    """Read `encoder.json`. Raises Mistake if it cannot be read."""
    path = folder / ABOUT
    try:
        found = json.loads(path.read_text())
        assert isinstance(found["encoder"], dict)
        assert isinstance(space_from_json(found["space"]), spaces.Dict)
    except Exception as error:  # Gymnasium raises whatever a wrong value makes it raise
        raise Mistake(f"{path} cannot be read ({error}); pretrain again, or copy it from an intact run") from error
    return found


OWN = ("encoder", "")
"""No user-defined class; one would be given by --encoder."""


def configuration(where: str | Path, named: tuple[str, str] = OWN) -> Any:
    """Read the configuration of a pretrained encoder.

    Args:
        where: a run of `embodia pretrain`, or a folder with encoder.json.
        named: path of the flag for a user-defined class, and its module:Class.

    Raises:
        Mistake: if it cannot be read, or is a user-defined class that is not named.
    """
    folder = find(where)
    return part(folder / ABOUT, {"kind": "ImageConfig", **about(folder)["encoder"]}, ImageEncoder, named)


def pictures_of(where: str | Path) -> spaces.Dict:
    """Return the observation space (one key) that a pretrained encoder was trained on. Raises Mistake."""
    found = space_from_json(about(find(where))["space"])
    assert isinstance(found, spaces.Dict)
    return found


def pretrained(where: str | Path, space: spaces.Dict | None = None, named: tuple[str, str] = OWN) -> ImageEncoder:
    """Load a pretrained encoder.

    Args:
        where: a run of `embodia pretrain`, or a folder with encoder.json.
        space: the images to read (one key, of any name); by default those it was trained on.
        named: path of the flag for a user-defined class, and its module:Class.

    Raises:
        Mistake: if it is missing or does not fit; the message names file and field.
    """
    folder = find(where)
    learnt_from: Any = space_from_json(about(folder)["space"])
    made = image_encoder(configuration(where, named), space or learnt_from)
    try:
        weights = load_file(folder / ENCODER)
    except Exception as error:
        raise Mistake(f"{folder / ENCODER} cannot be read ({error}); use an earlier checkpoint") from error
    ours = made.state_dict()
    if "position" in weights:  # its name in earlier versions
        weights["pos_embed"] = weights.pop("position")
    if "pos_embed" in weights and weights["pos_embed"].shape[2:] != ours["pos_embed"].shape[2:]:
        weights["pos_embed"] = F.interpolate(weights["pos_embed"], ours["pos_embed"].shape[2:], mode="bicubic")
    for name in sorted({*ours, *weights}):
        theirs, mine = (tuple(each[name].shape) if name in each else None for each in (weights, ours))
        if theirs != mine:
            raise Mistake(
                f"{folder / ENCODER}: {name} is {theirs}, but images {_shapes(made.space)} need {mine}: it was trained "
                f"on {_shapes(learnt_from)}; use images of this size, or pretrain on yours"
            )
    made.load_state_dict(weights)
    return made


def _shapes(space: spaces.Dict) -> str:
    return ", ".join("x".join(map(str, each.shape or ())) for each in space.values())


def matching_key(where: str | Path, observed: spaces.Dict, keys: tuple[str, ...]) -> str:
    """Find the observation key for a pretrained encoder: the same key, or the only one of its kind and channels.

    Raises:
        Mistake: if there is none, or more than one.
    """
    learnt_from = pictures_of(where)
    ((name, picture),) = learnt_from.items()
    fits = [key for key in keys if alike(observed[key], picture)]
    if name in fits:
        return name
    if len(fits) != 1:
        said = f"{' and '.join(fits)} both match" if fits else f"none of {', '.join(keys)} matches"
        raise Mistake(f"encoder.pretrained {where} reads {name}, {kind(picture)} {_shapes(learnt_from)}; {said}")
    return fits[0]


def alike(one: Space[Any], other: Space[Any]) -> bool:
    """Return whether both are images, or both are depth maps, with the same number of channels."""
    same = kind(one) == kind(other) and kind(one) in ("image", "depth")
    return same and (one.shape or ())[2:] == (other.shape or ())[2:]


def picture_space(shape: tuple[int, int, int], key: str = "rgb") -> spaces.Dict:
    return spaces.Dict({key: spaces.Box(0, 255, shape, np.uint8)})
