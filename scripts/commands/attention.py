"""`embodia attention RUN`: draw the attention maps of a vision transformer, as images and videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import tyro

from embodia.perception.encoders.attention_map import attention_pictures
from embodia.perception.encoders.vit import ViT
from embodia.scripts.data.look import Frame, Look, draw_all, opened
from embodia.scripts.mistake import Mistake


@dataclass(frozen=True)
class Args(Look):
    """Draw each image beside the attention of the class token in each head of the last block."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia attention")
    encoder, files = opened(args)
    if not isinstance(encoder, ViT):
        raise Mistake(f"{args.run} is a {type(encoder).__name__}, which has no attention; pretrain with --encoder vit")
    vit, (key,) = encoder, encoder.keys

    def draw(frames: Frame) -> Frame:
        return attention_pictures(vit, {key: torch.from_numpy(frames)})

    draw_all(args, "attention", files, draw)
    return 0
