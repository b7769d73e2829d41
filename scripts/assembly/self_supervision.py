"""What counts as the same picture, and a learner about the encoder that it trains."""

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
    """Which two pictures are the same thing."""

    by: Positives = "augmentation"
    """One picture changed twice; two pictures some frames apart, unchanged; or such two, each changed."""
    gap: int = 1
    """Frames between the two of temporal and both; of a learner of clips, between those of a clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How a picture is changed."""

    @property
    def frames(self) -> int:
        """How many pictures are the same thing before they are changed."""
        return 1 if self.by == "augmentation" else 2

    def views(self, crops: bool) -> Views:
        """Clips hold the two pictures alone, so that the gap between them is one; `crops` are needed in any case."""
        if self.by == "augmentation":
            return Views(self.augmentation)
        if self.by == "both":
            return Views(self.augmentation, 1)
        only_crops = replace(self.augmentation, colour=0.0, brightness=0.0, grey=0.0, blur=0.0, noise=0.0, flip=0.0)
        return Views(only_crops if crops else None, 1)


def clip_frames(learner: Any, positives: PositivesConfig) -> int:
    """How many pictures a clip holds: as the learner asks, or as many as make a pair."""
    return getattr(learner, "frames", positives.frames)


def first_encoder(learner: Any) -> str:
    """The first encoder of the table that the learner can train."""
    return next(name for name in IMAGE_ENCODER.table if fits(learner, name))


def first_positives(learner: Any) -> Positives:
    """What counts as the same picture to the learner, unless --positives says otherwise."""
    return getattr(LEARNER.made(learner), "positives", "augmentation")


def keeps_itself(learner: Any) -> bool:
    """Whether the learner is the encoder that it trains, and not given one."""
    return "encoder" not in parameters(LEARNER.method(learner))


def kept(learner: Any, encoder: Any) -> Any:
    """The configuration of the encoder that the learner leaves, when it was given `encoder`."""
    if keeps_itself(learner):
        return learner
    return learner.kept(encoder) if hasattr(learner, "kept") else encoder


def standing(learner: Any, encoder: Any) -> tuple[Any, Any]:
    """Both configurations, where the learner stands on a pretrained encoder with that encoder's."""
    below = getattr(learner, "pretrained", None)
    if below is None:
        return learner, encoder
    whose = ("encoder", IMAGE_ENCODER.name(encoder))
    return replace(learner, pretrained=str(Path(below).resolve())), configuration(below, whose)


def network(learner: Any, encoder: Any, space: spaces.Dict) -> ImageEncoder:
    """What the learner is given: a fresh encoder, or the pretrained one that it stands on."""
    below = getattr(learner, "pretrained", None)
    if below is None:
        return image_encoder(encoder, space)
    return pretrained(below, space, ("encoder", IMAGE_ENCODER.name(encoder)))


def fits(learner: Any, encoder: Any) -> bool:
    return issubclass(IMAGE_ENCODER.made(encoder), wanted(learner))


def wanted(learner: Any) -> type:
    """The encoders that a learner can train, by the type of its parameter `encoder`."""
    hint = hints(plain(LEARNER.method(learner))).get("encoder")
    return hint if isinstance(hint, type) else ImageEncoder


def method(learner: Any, encoder: Any, space: spaces.Dict, positives: PositivesConfig, steps: int) -> SelfSupervised:
    """The learner about the encoder it will train, `steps` long. Raises Mistake for what does not go together."""
    name, asked = LEARNER.name(learner), parameters(LEARNER.method(learner))
    if positives.by != "augmentation" and "views" not in asked:
        raise Mistake(f"{name} says itself what it compares, or compares nothing; leave --positives out")
    if not keeps_itself(learner) and not fits(learner, encoder):
        able = ", ".join(each for each in IMAGE_ENCODER.table if fits(learner, each))
        kind = wanted(learner).__name__
        raise Mistake(f"{name} trains a {kind}, which {IMAGE_ENCODER.name(encoder)} is not: --encoder {able}")
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
