"""Complex autoencoder: features of one object learn to share a phase (Löwe et al. 2022)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import SelfSupervised
from embodia.perception.objects.image_discovery import ImageDiscovery, pooled
from embodia.perception.objects.k_means import k_means

EPSILON = 1e-8
LEAST_LENGTH = 1e-4
"""Minimum |psi| in the gradient of the phase, 1 / |psi|. Below it the phase carries no information."""


class Polar(torch.autograd.Function):
    """Cosine and sine of the phase, and the magnitude, of a complex number given by real and imaginary part.

    The derivative is written by hand. Autograd differentiates the quotient by |psi| as a difference of very large terms
    that nearly cancel, and the rounding depends on the compiler (gradients of 1e8 were observed).
    """

    @staticmethod
    def forward(ctx: Any, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        length = torch.sqrt(real * real + imaginary * imaginary)
        cos, sin = real / length, imaginary / length
        ctx.save_for_backward(cos, sin, length)
        return cos, sin, length

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin, length = ctx.saved_tensors
        along_cos, along_sin, outward = gradients
        turn = (along_sin * cos - along_cos * sin) / length.clamp(min=LEAST_LENGTH)
        return outward * cos - turn * sin, outward * sin + turn * cos


class ComplexLayer(nn.Module):
    """A complex-valued version of a real layer f (sections 3.1 to 3.3).

    psi = f(Re z) + i f(Im z) and chi = f(|z|). The output phase is arg psi + b_phase, the output magnitude ReLU(norm((1
    - w) |psi| + w chi + b_magnitude)). chi lets features of different phases excite each other with little change of
    their phases.

    A complex z (N, ...) is stored as its real part, imaginary part and magnitude, stacked: (3 N, ...).

    Args:
        f: Linear layer or convolution without bias, with C output channels.
        norm: Normalisation layer for the magnitudes.
        fan_in: The magnitude bias is initialised within 1 / sqrt(fan_in) of 0.
        shape: Shape of the biases: (C,) or (C, 1, 1).
        chi: The weight w. 0 is the ablation without chi.
    """

    def __init__(self, f: nn.Module, norm: nn.Module, fan_in: int, shape: tuple[int, ...], chi: float):
        super().__init__()
        self.f, self.norm, self.chi = f, norm, chi
        self.magnitude_bias = nn.Parameter(torch.empty(shape).uniform_(-(fan_in**-0.5), fan_in**-0.5))
        self.phase_bias = nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        real, imaginary, chi = self.f(z).float().chunk(3)  # autocast would round phases
        # A (nearly) real psi has no phase gradient. The phase of psi = 0, as on an empty background, becomes 90
        # degrees, which separates the background from the objects.
        imaginary = torch.where(imaginary.abs() < EPSILON, EPSILON, imaginary)
        cos, sin, length = Polar.apply(real, imaginary)
        magnitude = F.relu(self.norm(torch.lerp(length, chi, self.chi) + self.magnitude_bias))
        more, less = self.phase_bias.cos(), self.phase_bias.sin()
        return torch.cat([magnitude * (cos * more - sin * less), magnitude * (cos * less + sin * more), magnitude])


class ComplexAutoEncoder(ImageDiscovery, SelfSupervised):
    """Autoencoder with complex features: the phases of its output say which pixels belong together.

    Encoder: five 3x3 convolutions with strides 2, 1, 2, 1, 2 and a linear layer. The decoder mirrors it with transposed
    convolutions. Images enter with phase 0; the reconstruction is sigmoid(1x1 convolution of the output magnitudes).
    Objects are k-means clusters of the output phases. Each phase is a point on the unit circle, moved towards the
    origin where the magnitude is below `threshold`. A token is the mean of the decoder's last hidden magnitudes under
    its mask.

    Args:
        space: Observation space with an image whose sides are multiples of 8.
        num_slots: Number of clusters, including the background. Phases separate about four.
        hidden: Number of channels of the outer layers; the inner layers have twice as many.
        bottleneck: Width of the linear layer.
        chi: Weight of chi in the magnitude.
        threshold: Magnitude above which a phase has full weight.
        keys: Image keys to read.

    Raises:
        ValueError: If a side of the image is not a multiple of 8.

    Source:
        Löwe et al. 2022, section 3.
    """

    def __init__(
        self,
        space: spaces.Dict,
        num_slots: int = 3,
        hidden: int = 32,
        bottleneck: int = 64,
        chi: float = 0.5,
        threshold: float = 0.1,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        channels, height, width = self.image_shape
        if height % 8 or width % 8:
            raise ValueError(f"a complex autoencoder needs image sides that are multiples of 8; got {height}x{width}")
        self.num_tokens, self.dim, self.threshold, self.chi = num_slots, hidden, threshold, chi
        wide = 2 * hidden
        self.inner = (wide, height // 8, width // 8)
        flat = wide * height * width // 64
        self.encoding_layers = nn.Sequential(
            self._conv(channels, hidden, 2),
            self._conv(hidden, hidden, 1),
            self._conv(hidden, wide, 2),
            self._conv(wide, wide, 1),
            self._conv(wide, wide, 2),
            nn.Flatten(),
            self._linear(flat, bottleneck),
        )
        self.decoding_layers = nn.Sequential(
            self._linear(bottleneck, flat),
            nn.Unflatten(1, self.inner),
            self._up(wide, wide),
            self._conv(wide, wide, 1),
            self._up(wide, hidden),
            self._conv(hidden, hidden, 1),
        )
        self.last = self._up(hidden, channels)
        self.output = nn.Conv2d(channels, channels, 1)
        nn.init.ones_(self.output.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    @property
    def kept(self) -> "ComplexAutoEncoder":
        """The whole network: the masks come from the decoder."""
        return self

    def _conv(self, inputs: int, outputs: int, stride: int) -> ComplexLayer:
        f = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return ComplexLayer(f, nn.BatchNorm2d(outputs), 9 * inputs, (outputs, 1, 1), self.chi)

    def _up(self, inputs: int, outputs: int) -> ComplexLayer:
        f = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False)
        return ComplexLayer(f, nn.BatchNorm2d(outputs), 9 * outputs, (outputs, 1, 1), self.chi)

    def _linear(self, inputs: int, outputs: int) -> ComplexLayer:
        f = nn.Linear(inputs, outputs, bias=False)
        return ComplexLayer(f, nn.LayerNorm(outputs), inputs, (outputs,), self.chi)

    def _decoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's last hidden layer and its output, both stacked complex, for images (N, C, H, W)."""
        picture = images + 0.5
        picture = picture.contiguous(memory_format=torch.channels_last)
        hidden = self.decoding_layers(self.encoding_layers(torch.cat([picture, torch.zeros_like(picture), picture])))
        return hidden, self.last(hidden)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstruct images (N, C, H, W), with values from 0 to 1."""
        return torch.sigmoid(self.output(self._decoded(images)[1].chunk(3)[2]).float())

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared reconstruction error of images in [0, 1]; batch is `{"obs": {...}}`."""
        images, _ = self.images(batch["obs"])
        loss = F.mse_loss(self.reconstruct(images), images + 0.5)
        return loss, {"loss": loss.detach()}

    def phases(self, images: Tensor) -> Tensor:
        """Return e^(i phase) of the output times min(1, magnitude / threshold): (N, C, H, W) -> (N, 2 C, H, W)."""
        return self._points(self._decoded(images)[1])

    def _points(self, output: Tensor) -> Tensor:
        real, imaginary, magnitude = output.chunk(3)
        scale = magnitude.clamp(max=self.threshold) / self.threshold / magnitude.clamp(min=EPSILON)
        return torch.cat([scale * real, scale * imaginary], 1)

    def _masks(self, output: Tensor, counts: Tensor | None = None) -> Tensor:
        points = self._points(output)
        weights = None if counts is None else counts.flatten(1)
        labels = k_means(points.flatten(2).transpose(1, 2), self.num_tokens, weights)
        return F.one_hot(labels, self.num_tokens).transpose(1, 2).unflatten(2, points.shape[2:]).float()

    def segment(self, images: Tensor, counts: Tensor | None = None) -> Tensor:
        """Cluster the output phases into masks.

        With `counts` (N, H, W), only nonzero pixels influence the clusters (the paper excludes overlaps).
        """
        return self._masks(self._decoded(images)[1], counts)

    def features(self, images: Tensor) -> Tensor:
        """Return the decoder's last hidden magnitudes: (N, C, H, W) -> (N, hidden, H / 2, W / 2)."""
        return self._decoded(images)[0].chunk(3)[2]

    def encode(self, images: Tensor) -> Tensor:
        hidden, output = self._decoded(images)
        return pooled(hidden.chunk(3)[2], self._masks(output))


def complex_net(space: spaces.Dict, num_slots: int = 3, dim: int = 64, width: int = 32) -> ComplexAutoEncoder:
    """Build the network of the complex autoencoder from the parameters that all encoders share.

    Args:
        space: Observation space with an image whose sides are multiples of 8.
        num_slots: Maximum number of objects, including the background.
        dim: Width of the bottleneck.
        width: Number of channels of the outer layers, and width of a token.
    """
    return ComplexAutoEncoder(space, num_slots, hidden=width, bottleneck=dim)


def complex_autoencoder(encoder: ComplexAutoEncoder) -> ComplexAutoEncoder:
    """Complex autoencoder (Löwe et al. 2022). The trained network is the encoder itself."""
    return encoder
