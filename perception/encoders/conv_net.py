"""Plain convolutions with batch normalisation, the small encoder for comparing self-supervised losses."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from embodia.perception.encoders.image_encoder import ImageEncoder


class ConvNet(ImageEncoder):
    """3x3 convolutions with BatchNorm and ReLU. Each location of the last map is a token, (*B, rows * columns, dim).

    `summary` is the tokens' mean (global average pooling), so it accepts images of any size. Batch statistics suit
    self-supervision, where they counter collapse, and frozen encoders, which use the running statistics. To fine-tune
    with reinforcement learning use `ResNet`, which normalises each image independently.

    Args:
        space: Observation space with images and depth of one size, at least 16x16.
        widths: Number of channels of each convolution; the last is the width of a token.
        strides: Stride of each convolution.
        keys: Image keys to read, stacked along the channels; by default all.

    Raises:
        ValueError: If `widths` and `strides` have different lengths.
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
            raise ValueError(
                f"widths and strides need the same length; got {len(widths)} widths and {len(strides)} strides"
            )
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
    """Build the five-layer ConvNet on which self-supervised losses are compared.

    Args:
        space: Observation space with images and depth of one size. From 64 pixels on, the first convolution has stride
            2.
        dim: Width of a token.
        width: Number of channels of the first convolution.
    """
    side = min(min((space[key].shape or (0, 0))[:2]) for key in space)
    first = 1 if side < 64 else 2
    return ConvNet(space, (width, 2 * width, 2 * width, 4 * width, dim), (first, 2, 1, 2, 2))
