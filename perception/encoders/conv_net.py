"""Plain convolutions with batch normalisation: the small encoder on which self-supervised losses are compared."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from embodia.perception.encoders.image_encoder import ImageEncoder


class ConvNet(ImageEncoder):
    """3x3 convolutions, each with BatchNorm and ReLU; each place of the last map is a token, (*B, rows * columns, dim).

    `summary` is their mean (global average pooling), so pictures of any size pass. Batch statistics suit
    self-supervision, where they work against collapse, and a frozen encoder, which keeps the running ones; to fine-tune
    under reinforcement learning take `ResNet`, which normalises each picture by itself.

    Args:
        space: observations with images and depth of one size, at least 16x16.
        widths: channels of each convolution; the last is `dim`.
        strides: of each convolution.
        keys: the images to read, stacked along channels; by default all.
    """

    def __init__(
        self,
        space: spaces.Dict,
        widths: Sequence[int] = (32, 64, 64, 128, 128),
        strides: Sequence[int] = (1, 2, 1, 2, 2),
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        if len(widths) != len(strides):
            raise ValueError(f"each convolution has a width and a stride; got {len(widths)} and {len(strides)}")
        channels, height, width = self.image_shape
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip((channels, *widths), widths, strides):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = convert_conv2d_weight_memory_format(nn.Sequential(*layers), torch.channels_last)
        rows, columns = height, width
        for stride in strides:
            rows, columns = -(-rows // stride), -(-columns // stride)
        self.num_tokens, self.dim = rows * columns, widths[-1]

    def encode(self, images: Tensor) -> Tensor:
        return self.body(images).flatten(2).transpose(1, 2)


def conv_net(space: spaces.Dict, dim: int = 128, width: int = 32) -> ConvNet:
    """The five convolutions that self-supervised losses are compared on.

    Args:
        space: observations with images and depth of one size; those of 64 pixels and above are halved once more.
        dim: width of a token.
        width: channels of the first convolution.
    """
    side = min(min((space[key].shape or (0, 0))[:2]) for key in space)
    first = 1 if side < 64 else 2
    return ConvNet(space, (width, 2 * width, 2 * width, 4 * width, dim), (first, 2, 1, 2, 2))
