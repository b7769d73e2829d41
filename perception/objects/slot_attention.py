"""Slot attention: slots compete for places of a picture and each learns to draw what it won (Locatello et al. 2020).

With `implicit` the gradient goes through the last iteration alone, from slots taken as the fixed point (Chang et al.
2022): less memory, a bounded gradient, and as many iterations as one likes. The distribution that slots start from then
stays as it was drawn, for no gradient reaches it.
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
    """(N, P, inputs) features -> (N, K, dim) slots and (N, K, P) attention that sums to 1 over the slots (algorithm 1).

    Slots start from one normal distribution, learned and shared, so that none has a place of its own: reordering the
    start reorders the slots. In evaluation the start is drawn from a fixed seed, and a picture gives the same slots
    every time.
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
        """(n, K, dim) drawn slots; in evaluation the same for each of the n."""
        device = self.mean.device
        if self.training:
            noise = torch.randn(n, slots, self.dim, device=device)
        else:
            fixed = torch.Generator().manual_seed(0)
            noise = torch.randn(slots, self.dim, generator=fixed).to(device).expand(n, -1, -1)
        return self.mean + self.log_std.exp() * noise

    def attention(self, keys: Tensor, slots: Tensor) -> Tensor:
        """(N, P, D), (N, K, D) -> (N, K, P): what share of each place each slot wins."""
        return (self.query(self.norm_slots(slots)) @ keys.transpose(1, 2) * self.dim**-0.5).softmax(1)

    def step(self, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
        """One iteration: each slot moves by the mean of the values it wins, weighted by its own shares."""
        weights = self.attention(keys, slots) + self.epsilon
        update = weights / weights.sum(2, keepdim=True) @ values
        slots = self.gru(update.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots + self.mlp(slots)

    def forward(self, features: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """`start` (N, K, dim) as `start` gives it."""
        features = self.norm_inputs(features)
        keys, values, slots = self.key(features), self.value(features), start
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.implicit):
            for _ in range(self.iterations - self.implicit):
                slots = self.step(keys, values, slots)
        if self.implicit:  # a first-order Neumann series of the gradient at the fixed point
            slots = self.step(keys, values, slots.detach())
        return slots, self.attention(keys, slots)


class SoftPosition(nn.Module):
    """Adds a linear map of (x, y, 1 - x, 1 - y), each of 0 to 1, to (N, D, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(4, dim)

    def forward(self, x: Tensor) -> Tensor:
        axes = [torch.linspace(0, 1, side, device=x.device) for side in x.shape[2:]]
        down, right = torch.meshgrid(*axes, indexing="ij")
        place = self.linear(torch.stack([right, down, 1 - right, 1 - down], -1))
        return x + place.permute(2, 0, 1)


class SpatialBroadcastDecoder(nn.Module):
    """Slots (M, dim) -> (M, C + 1, H, W): each laid on every place, three 5x5 layers, colours and one mask logit.

    Watters et al. 2019; the size of the Tetrominoes and Multi-dSprites experiments, without striding. The first layer
    is linear, so it draws each unit vector once for all slots: the same picture for a fraction of the work.
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
        """(M, dim) -> (M, width, H, W): `first` of each slot on every place, with positions."""
        height, width = self.size
        units = torch.eye(slots.shape[1], device=slots.device)[:, :, None, None].expand(-1, -1, height, width)
        drawn = F.conv_transpose2d(units, self.first.weight, padding=2).permute(0, 2, 3, 1)  # (dim, H, W, width)
        place = self.first(self.position(torch.zeros_like(units[:1])))
        return (slots @ drawn.flatten(1)).view(-1, *drawn.shape[1:]).permute(0, 3, 1, 2) + place


class SlotAutoEncoder(ImageDiscovery, SelfSupervised):
    """A picture as the sum of what K slots draw, each where its mask is.

    Encoder: four 5x5 convolutions, soft positions, a two-layer MLP per place; then slot attention and the spatial
    broadcast decoder. The loss is the mean squared error of pictures of -1 to 1. Tokens are slots.

    What a slot draws is bounded, softly, which the authors' code leaves out. Unbounded, a slot may draw a place in
    three times its colour with a third of the mask, and the mask no longer says whose the place is. Under tanh one slot
    often draws all: most of a picture is black, where tanh has no slope. In training slots start at random, so an agent
    had better read a frozen one.

    Args:
        space: observations with an image.
        num_slots: K, the background included.
        dim: width of a slot.
        width: channels of the convolutions.
        hidden: width of the slots' MLP.
        iterations: of slot attention.
        implicit: gradient through the last iteration only.
        keys: the images to read.
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
        """All of it: masks come from the decoder."""
        return self

    def slots(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> slots (N, K, dim) and their attention (N, K, H, W)."""
        features = self.features((2 * images).contiguous(memory_format=torch.channels_last))
        places = self.per_place(features.flatten(2).transpose(1, 2))
        slots, attention = self.slot_attention(places, self.slot_attention.start(len(images), self.num_tokens))
        return slots, attention.unflatten(2, images.shape[2:])

    def draw(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (N, K, dim) -> each one's picture (N, K, C, H, W) of about -1 to 1, and masks (N, K, H, W)."""
        drawn = self.decoder(slots.flatten(0, 1)).unflatten(0, slots.shape[:2])
        return bounded(drawn[:, :, :-1]), drawn[:, :, -1].softmax(1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, of about -0.5 to 0.5."""
        return self.mixed(self.slots(images)[0])

    def mixed(self, slots: Tensor) -> Tensor:
        """(N, K, dim) -> (N, C, H, W): what the slots draw, by their masks."""
        pictures, masks = self.draw(slots)
        return (pictures * masks[:, :, None]).sum(1) / 2

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: `{"obs": {...}}`."""
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
    """Slots that teach themselves: the network is its own encoder.

    Args:
        encoder: is trained and kept.
        implicit: the gradient goes through the last iteration alone (Chang et al. 2022).
    """
    encoder.slot_attention.implicit |= implicit
    return encoder


def bounded(x: Tensor, slope: float = 0.02) -> Tensor:
    """x where it lies within -1 to 1; beyond, only `slope` of the way."""
    inside = x.clamp(-1, 1)
    return inside + slope * (x - inside)


def glorot(module: nn.Module) -> None:
    """Weights as the authors start them, by Keras: Glorot's, orthogonal ones where a GRU meets its own state, biases 0.

    PyTorch's own are weaker, and four such convolutions leave so little of the picture beside the position added after
    them that slots share pictures out by place.
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
