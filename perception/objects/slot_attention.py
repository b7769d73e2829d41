"""Slot attention: slots compete for image locations and reconstruct what they attend to (Locatello et al. 2020).

With `implicit`, the gradient goes through the last iteration only, from slots treated as a fixed point (Chang et al.
2022). This needs less memory, bounds the gradient and allows any number of iterations. The initial slot distribution
then keeps its initial values, because no gradient reaches it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import SelfSupervised
from embodia.perception.objects.image_discovery import ImageDiscovery
from embodia.perception.scores.collapse import effective_rank, sphere_std


class SlotAttention(nn.Module):
    """Iterative attention of K slots over P input features (algorithm 1).

    The initial slots are samples of one learned normal distribution shared by all slots, so permuting them permutes the
    result. In evaluation they are sampled with a fixed seed, so an image always gives the same slots.

    Args:
        inputs: Width of the input features.
        dim: Width of a slot.
        hidden: Hidden width of the slots' MLP.
        iterations: Number of iterations.
        implicit: Backpropagate through the last iteration only.
        epsilon: Added to the attention before it is normalised over the inputs.
    """

    def __init__(
        self, inputs: int, dim: int, hidden: int, iterations: int = 3, implicit: bool = False, epsilon: float = 1e-8
    ):
        super().__init__()
        self.dim, self.iterations, self.implicit, self.epsilon = dim, iterations, implicit, epsilon
        self.mean = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, dim)))
        self.log_std = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, dim)))
        self.norm_inputs, self.norm_slots = nn.LayerNorm(inputs), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(inputs, dim, bias=False)
        self.value = nn.Linear(inputs, dim, bias=False)
        self.gru = nn.GRUCell(dim, dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def start(self, n: int, slots: int) -> Tensor:
        """Return initial slots (n, slots, dim). In evaluation all n are equal."""
        device = self.mean.device
        if self.training:
            noise = torch.randn(n, slots, self.dim, device=device)
        else:
            fixed = torch.Generator().manual_seed(0)
            noise = torch.randn(slots, self.dim, generator=fixed).to(device).expand(n, -1, -1)
        return self.mean + self.log_std.exp() * noise

    def attention(self, keys: Tensor, slots: Tensor) -> Tensor:
        """Attention (N, K, P) of slots (N, K, D) over keys (N, P, D). It sums to 1 over the slots."""
        return (self.query(self.norm_slots(slots)) @ keys.transpose(1, 2) * self.dim**-0.5).softmax(1)

    def step(self, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
        """Run one iteration: update each slot with the attention-weighted mean of the values."""
        weights = self.attention(keys, slots) + self.epsilon
        update = weights / weights.sum(2, keepdim=True) @ values
        slots = self.gru(update.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots + self.mlp(slots)

    def forward(self, features: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return slots (N, K, dim) and attention (N, K, P), which sums to 1 over the slots.

        Args:
            features: Input features (N, P, inputs).
            start: Initial slots (N, K, dim), from `start`.
        """
        features = self.norm_inputs(features)
        keys, values, slots = self.key(features), self.value(features), start
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.implicit):
            for _ in range(self.iterations - self.implicit):
                slots = self.step(keys, values, slots)
        if self.implicit:  # first-order Neumann approximation of the gradient at the fixed point
            slots = self.step(keys, values, slots.detach())
        return slots, self.attention(keys, slots)


class SoftPosition(nn.Module):
    """Adds a linear map of the coordinates (x, y, 1 - x, 1 - y), each from 0 to 1, to features (N, D, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(4, dim)

    def forward(self, x: Tensor) -> Tensor:
        axes = [torch.linspace(0, 1, side, device=x.device) for side in x.shape[2:]]
        down, right = torch.meshgrid(*axes, indexing="ij")
        place = self.linear(torch.stack([right, down, 1 - right, 1 - down], -1))
        return x + place.permute(2, 0, 1)


class SpatialBroadcastDecoder(nn.Module):
    """Decode slots (M, dim) to colours and one mask logit, (M, C + 1, H, W) (Watters et al. 2019).

    Each slot is copied to every location and passes through three 5x5 layers, as in the Tetrominoes and Multi-dSprites
    experiments, without striding. The first layer is linear, so it is computed once per unit vector instead of once per
    slot; the result is the same at a fraction of the cost.
    """

    def __init__(self, dim: int, width: int, shape: tuple[int, int, int]):
        super().__init__()
        channels, *self.size = shape
        self.position = SoftPosition(dim)
        self.first = nn.ConvTranspose2d(dim, width, 5, padding=2)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, channels + 1, 3, padding=1),
        )

    def forward(self, slots: Tensor) -> Tensor:
        return self.layers(self.first_layer(slots))

    def first_layer(self, slots: Tensor) -> Tensor:
        """Apply `first` to each slot at every location, with positions: (M, dim) -> (M, width, H, W)."""
        height, width = self.size
        units = torch.eye(slots.shape[1], device=slots.device)[:, :, None, None].expand(-1, -1, height, width)
        drawn = F.conv_transpose2d(units, self.first.weight, padding=2).permute(0, 2, 3, 1)  # (dim, H, W, width)
        place = self.first(self.position(torch.zeros_like(units[:1])))
        return (slots @ drawn.flatten(1)).view(-1, *drawn.shape[1:]).permute(0, 3, 1, 2) + place


class SlotAutoEncoder(ImageDiscovery, SelfSupervised):
    """Autoencoder that reconstructs an image as a sum of K slots, each weighted by its mask.

    Encoder: four 5x5 convolutions, soft positions and a two-layer MLP per location, then slot attention and the spatial
    broadcast decoder. The loss is the mean squared error of images in [-1, 1]. Tokens are slots.

    Unlike the authors' code, colours are softly bounded. Without a bound, a slot may paint a location with three times
    its colour at a third of the mask, and the mask no longer shows which slot owns the location. With tanh, one slot
    often paints everything, because most of an image is black, where tanh has no gradient. The initial slots are random
    in training, so agents should read a frozen encoder.

    Args:
        space: Observation space with an image.
        num_slots: Number of slots, including the background.
        dim: Width of a slot.
        width: Number of channels of the convolutions.
        hidden: Hidden width of the slots' MLP.
        iterations: Iterations of slot attention.
        implicit: Backpropagate through the last iteration only.
        keys: Image keys to read.

    Source:
        Locatello et al. 2020, algorithm 1.
    """

    def __init__(
        self,
        space: spaces.Dict,
        num_slots: int = 4,
        dim: int = 64,
        width: int = 32,
        hidden: int = 128,
        iterations: int = 3,
        implicit: bool = False,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        self.num_tokens, self.dim = num_slots, dim
        layers: list[nn.Module] = []
        inputs = self.image_shape[0]
        for _ in range(4):
            layers += [nn.Conv2d(inputs, width, 5, padding=2), nn.ReLU()]
            inputs = width
        self.features = nn.Sequential(*layers, SoftPosition(width))
        self.per_place = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.slot_attention = SlotAttention(dim, dim, hidden, iterations, implicit)
        self.decoder = SpatialBroadcastDecoder(dim, width, self.image_shape)
        self.apply(glorot)

    @property
    def kept(self) -> "SlotAutoEncoder":
        """The whole network: the masks come from the decoder."""
        return self

    def slots(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return slots (N, K, dim) and their attention (N, K, H, W) for images (N, C, H, W)."""
        features = self.features((2 * images).contiguous(memory_format=torch.channels_last))
        places = self.per_place(features.flatten(2).transpose(1, 2))
        slots, attention = self.slot_attention(places, self.slot_attention.start(len(images), self.num_tokens))
        return slots, attention.unflatten(2, images.shape[2:])

    def draw(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Decode slots (N, K, dim) to one image per slot (N, K, C, H, W), about -1 to 1, and masks (N, K, H, W)."""
        drawn = self.decoder(slots.flatten(0, 1)).unflatten(0, slots.shape[:2])
        return bounded(drawn[:, :, :-1]), drawn[:, :, -1].softmax(1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstruct images (N, C, H, W), with values of about -0.5 to 0.5."""
        return self.mixed(self.slots(images)[0])

    def mixed(self, slots: Tensor) -> Tensor:
        """Combine the images of slots (N, K, dim) by their masks: (N, C, H, W)."""
        pictures, masks = self.draw(slots)
        return (pictures * masks[:, :, None]).sum(1) / 2

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return 4 times the mean squared error in [-0.5, 0.5], which is the error in [-1, 1]; batch is `{"obs":
        {...}}`.
        """
        images, _ = self.images(batch["obs"])
        slots = self.slots(images)[0]
        loss = 4 * F.mse_loss(self.mixed(slots), images)
        logs = {"effective_rank": effective_rank(slots.flatten(0, 1)), "embedding_std": sphere_std(slots.flatten(0, 1))}
        return loss, {"loss": loss.detach()} | logs

    def encode(self, images: Tensor) -> Tensor:
        return self.slots(images)[0]

    def segment(self, images: Tensor) -> Tensor:
        return self.draw(self.slots(images)[0])[1]


def slot_attention(encoder: SlotAutoEncoder, implicit: bool = False) -> SlotAutoEncoder:
    """Slot attention (Locatello et al. 2020). The trained network is the encoder itself.

    Args:
        encoder: Encoder to train.
        implicit: Backpropagate through the last iteration only (Chang et al. 2022).
    """
    encoder.slot_attention.implicit |= implicit
    return encoder


def bounded(x: Tensor, slope: float = 0.02) -> Tensor:
    """Return x within [-1, 1], and continue with slope `slope` outside."""
    inside = x.clamp(-1, 1)
    return inside + slope * (x - inside)


def glorot(module: nn.Module) -> None:
    """Initialise weights as in the authors' Keras code: Glorot uniform, orthogonal recurrent GRU weights, zero biases.

    PyTorch's defaults are smaller. After four such convolutions the image signal is weak beside the position embedding,
    and slots then divide the image by location.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.GRUCell):
        for gate in module.weight_ih.chunk(3):
            nn.init.xavier_uniform_(gate)
        for gate in module.weight_hh.chunk(3):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(module.bias_ih)
        nn.init.zeros_(module.bias_hh)
