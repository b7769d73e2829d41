"""Time-contrastive learning within one view (Sermanet et al. 2018, TCN; with the contrast of van den Oord et al. 2018).

Frames a moment apart are nearer to each other than to all other frames of the batch: those of other films, and those of
the same film at another time. The latter leave no use for what a film never changes (the colours of its walls); what
tells its moments apart is where things are.

The contrast is made in the tokens' own mean squared distance, so that this distance is learned as the score of "soon
after": what a planner that compares tokens with a goal's asks for. There is no projector.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.scores.collapse import effective_rank, sphere_std


class TimeContrastive(SelfSupervised):
    """An image encoder under training; as an `Encoder` it gives the image encoder's tokens.

    Args:
        encoder: what is to be trained and kept.
        reach: a positive lies at most so many frames away; drawn anew for each frame and update.
        margin: frames nearer than this are no negatives either, being neither near nor far; at least `reach`.
        temperature: of the contrast at the start; it is learned.
        frames: of the clips that it asks of its data.
    """

    encoder: ImageEncoder

    def __init__(
        self, encoder: ImageEncoder, reach: int = 1, margin: int = 2, temperature: float = 0.1, frames: int = 8
    ):
        super().__init__(encoder.space)
        if not 1 <= reach <= margin:
            raise ValueError(
                f"positives reach {reach} frames and negatives begin beyond {margin}; give 1 <= reach <= margin"
            )
        self.encoder, self.reach, self.margin, self.frames = encoder, reach, margin, frames
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim
        self.sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """rows (T, B, ...) with T > reach, and `first` (T, B) where films may begin in between."""
        images, axes = self.encoder.images(batch["obs"])
        if len(axes) != 2 or axes[0] <= self.reach:
            raise ValueError(f"positives up to {self.reach} frames away need rows (T, B, ...) of more; got {axes}")
        tokens = self.encoder.encode(images).float()  # (T * B, P, D)
        first = torch.as_tensor(batch.get("first", torch.zeros(axes)), device=tokens.device)
        film, time = films(first)
        loss, right = time_contrast(
            squared_distances(tokens.flatten(1)) * self.sharpness.exp(),
            drawn_positive(film, time, axes[1], self.reach),
            (film[:, None] == film) & ((time[:, None] - time).abs() <= self.margin),
        )
        summary = tokens.detach().mean(1)
        return loss, {
            "loss": loss.detach(),
            "nearest_is_positive": right,
            "effective_rank": effective_rank(summary),
            "embedding_std": sphere_std(summary),
        }


def films(first: Tensor) -> tuple[Tensor, Tensor]:
    """first (T, B) -> a number per film and the time, each (T * B,), row by row."""
    steps, count = first.shape
    episode = first.long().cumsum(0)
    film = episode * count + torch.arange(count, device=first.device)
    return film.flatten(), torch.arange(steps, device=first.device).repeat_interleave(count)


def squared_distances(x: Tensor) -> Tensor:
    """(N, D) -> (N, N) mean over D of squared differences."""
    square = x.square().mean(1)
    return (square[:, None] + square - 2 * (x @ x.T) / x.shape[1]).clamp_min(0)


def drawn_positive(film: Tensor, time: Tensor, count: int, reach: int) -> Tensor:
    """For each frame another of its film at most `reach` away, -1 where there is none; (N,) int64."""
    apart = torch.randint(1, reach + 1, film.shape, device=film.device)
    side = torch.where(torch.rand(film.shape, device=film.device) < 0.5, 1, -1)
    here, chosen = torch.arange(len(film), device=film.device), torch.full_like(film, -1)
    for step in (-side * apart, side * apart):  # the side drawn last wins where both exist
        there = here + step * count
        inside = (there >= 0) & (there < len(film))
        same = inside & (film[there.clamp(0, len(film) - 1)] == film)
        chosen = torch.where(same, there, chosen)
    return chosen


def time_contrast(distance: Tensor, positive: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of telling the positive among the negatives by distance (N, N), and how often it is the nearest.

    positive (N,) is a column, -1 for frames left out; near (N, N) are no negatives.
    """
    rows = (positive >= 0).nonzero()[:, 0]
    logits = -distance[rows]
    to_positive = logits.gather(1, positive[rows, None])
    others = logits.masked_fill(near[rows], float("-inf"))
    every = torch.cat([to_positive, others], 1)
    target = torch.zeros(len(rows), dtype=torch.int64, device=distance.device)
    right = (every.detach().argmax(1) == 0).float().mean()
    return nn.functional.cross_entropy(every, target), right
