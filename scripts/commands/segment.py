"""`embodia segment RUN`: draw label maps and instances, or the objects that an encoder finds without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import tyro

from embodia.perception.encoders.attention_map import rgb
from embodia.perception.encoders.image_encoder import ImageEncoder, PatchEncoder
from embodia.perception.objects.image_discovery import ImageDiscovery
from embodia.perception.objects.mask_cut import MaskCut
from embodia.perception.objects.token_cut import TokenCut
from embodia.scripts.assembly.segmenters import is_segmenter
from embodia.scripts.commands.models import segment_supervised
from embodia.scripts.data.look import Frame, Look, draw_all, opened
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.mask_picture import as_labels, overlaid


@dataclass(frozen=True)
class Args(Look):
    """Draw each image beside what a run finds in it, in colour.

    A segmenter of `embodia pretrain segmenter` gives label maps and instances. An encoder gives objects without labels:
    slots, or cuts of a vision transformer's patches.
    """

    by: Literal["mask-cut", "token-cut"] = "mask-cut"
    """Method for a vision transformer: mask-cut finds several objects, token-cut one. Not used for slots."""
    objects: int = 3
    """Maximum number of objects of mask-cut."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia segment")
    if is_segmenter(args.run):
        return segment_supervised.main(args)
    encoder, files = opened(args)
    model = discovery(args, encoder)
    has_ground = model is not encoder  # cuts give the background as the last mask; a slot may be anything

    @torch.no_grad()
    def draw(frames: Frame) -> Frame:
        images, _ = model.images({encoder.keys[0]: torch.from_numpy(frames)})
        masks = model.segment(images).numpy()
        labels = as_labels(masks) if has_ground else masks.argmax(1) + 1
        shown = 255 * rgb(images).permute(0, 2, 3, 1).numpy()
        found = np.stack([overlaid(picture, label) for picture, label in zip(shown, labels)])
        return np.concatenate([shown, found], 2).round().astype(np.uint8)

    draw_all(args, "objects", files, draw)
    return 0


def discovery(args: Args, encoder: ImageEncoder) -> ImageDiscovery:
    """Return the object discovery method. Raises Mistake if the encoder has neither slots nor patches."""
    if isinstance(encoder, ImageDiscovery):
        return encoder
    if not isinstance(encoder, PatchEncoder):
        raise Mistake(
            f"{args.run} is a {type(encoder).__name__}, which has neither slots nor patches; pretrain slot-attention, "
            "or dino with --encoder vit"
        )
    if args.by == "token-cut":
        return TokenCut(encoder, centred=True)
    return MaskCut(encoder, args.objects, centred=True)
