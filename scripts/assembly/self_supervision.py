"""Positive pairs for self-supervised learning, and the assembly of a learner with the encoder that it trains."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from gymnasium import spaces

from embodia.perception import SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.views import Views
from embodia.scripts.assembly.image_encoders import configuration, image_encoder, pretrained
from embodia.scripts.assembly.kinds import IMAGE_ENCODER, LEARNER
from embodia.scripts.assembly.options import hints, parameters, plain
from embodia.scripts.assembly.parts import build
from embodia.scripts.mistake import Mistake

Positives = Literal["augmentation", "temporal", "both"]


@dataclass(frozen=True)
class PositivesConfig:
    """Positive pairs: two views that self-supervised learning treats as the same."""

    by: Positives = "augmentation"
    """augmentation: two augmentations of one image. temporal: two frames of a clip, not augmented. both: two frames,
    each augmented."""
    gap: int = 1
    """Distance in frames between the two frames of temporal and both, or between the frames of a learner's clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Image augmentation."""

    @property
    def frames(self) -> int:
        """Number of frames of a positive pair, before augmentation."""
        return 1 if self.by == "augmentation" else 2

    def views(self, crops: bool) -> Views:
        """Return the views of a clip of `frames` frames; with `crops`, temporal pairs are cropped too."""
        if self.by == "augmentation":
            return Views(self.augmentation)
        if self.by == "both":  # a clip holds only the two frames, so their distance in it is 1
            return Views(self.augmentation, 1)
        only_crops = replace(self.augmentation, colour=0.0, brightness=0.0, grey=0.0, blur=0.0, noise=0.0, flip=0.0)
        return Views(only_crops if crops else None, 1)


def clip_frames(learner: Any, positives: PositivesConfig) -> int:
    """Return the number of frames of a clip: that of the learner, or that of a positive pair."""
    return getattr(learner, "frames", positives.frames)


def first_encoder(learner: Any) -> str:
    """Return the name of the first encoder in the table that the learner can train."""
    return next(name for name in IMAGE_ENCODER.table if fits(learner, name))


def first_positives(learner: Any) -> Positives:
    """Return the default kind of positive pairs of the learner."""
    return getattr(LEARNER.made(learner), "positives", "augmentation")


def keeps_itself(learner: Any) -> bool:
    """Return whether the learner is itself the encoder, so that it is not given one."""
    return "encoder" not in parameters(LEARNER.method(learner))


def kept(learner: Any, encoder: Any) -> Any:
    """Return the configuration of the trained encoder of a learner that was given `encoder`."""
    if keeps_itself(learner):
        return learner
    return learner.kept(encoder) if hasattr(learner, "kept") else encoder


def standing(learner: Any, encoder: Any) -> tuple[Any, Any]:
    """Return both configurations; if the learner builds on a pretrained encoder, with that encoder's."""
    below = getattr(learner, "pretrained", None)
    if below is None:
        return learner, encoder
    whose = ("encoder", IMAGE_ENCODER.name(encoder))
    return replace(learner, pretrained=str(Path(below).resolve())), configuration(below, whose)


def network(learner: Any, encoder: Any, space: spaces.Dict) -> ImageEncoder:
    """Build the encoder for the learner: a new one, or the pretrained one that the learner builds on."""
    below = getattr(learner, "pretrained", None)
    if below is None:
        return image_encoder(encoder, space)
    return pretrained(below, space, ("encoder", IMAGE_ENCODER.name(encoder)))


def fits(learner: Any, encoder: Any) -> bool:
    return issubclass(IMAGE_ENCODER.made(encoder), wanted(learner))


def wanted(learner: Any) -> type:
    """Return the class of encoders that a learner can train: the type of its parameter `encoder`."""
    hint = hints(plain(LEARNER.method(learner))).get("encoder")
    return hint if isinstance(hint, type) else ImageEncoder


def method(learner: Any, encoder: Any, space: spaces.Dict, positives: PositivesConfig, steps: int) -> SelfSupervised:
    """Build the learner with the encoder that it trains for `steps` updates. Raises Mistake if they do not fit."""
    name, asked = LEARNER.name(learner), parameters(LEARNER.method(learner))
    if positives.by != "augmentation" and "views" not in asked:
        raise Mistake(f"{name} does not use --positives; omit it")
    if not keeps_itself(learner) and not fits(learner, encoder):
        able = ", ".join(each for each in IMAGE_ENCODER.table if fits(learner, each))
        kind = wanted(learner).__name__
        raise Mistake(f"{name} trains a {kind}, which {IMAGE_ENCODER.name(encoder)} is not; use --encoder {able}")
    crops = getattr(LEARNER.made(learner), "crops", False)
    given: dict[str, Callable[[], Any]] = {
        "encoder": cache(partial(network, learner, encoder, space)),
        "space": lambda: space,
        "views": partial(positives.views, crops),
        "steps": lambda: steps,
    }
    try:
        return build(LEARNER, learner, given)
    except ValueError as error:
        raise Mistake(f"{name}: {error}") from error
