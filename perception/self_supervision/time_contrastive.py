"""Time-contrastive learning within one view (TCN, Sermanet et al. 2018; contrast of van den Oord et al. 2018).

Frames a moment apart should be nearer to each other than to all other frames of the batch, both of other videos and of
other times of the same video. The latter make constant features of a video (such as wall colours) useless; only the
positions of things distinguish its moments.

The contrast uses the mean squared distance of the tokens themselves, without a projector. This distance then scores how
soon one frame follows another, which is what a planner that compares tokens with a goal's needs.
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
    """Time-contrastive learner. As an encoder, it gives the image encoder's tokens.

    Args:
        encoder: Encoder to train.
        reach: Maximum distance of a positive frame; sampled for each frame and update.
        margin: Frames at most this far away are not negatives either; at least `reach`.
        temperature: Initial temperature of the contrast; it is learned.
        frames: Number of frames of the training clips.

    Raises:
        ValueError: Unless 1 <= reach <= margin.
    """

    encoder: ImageEncoder

    def __init__(
        self, encoder: ImageEncoder, reach: int = 1, margin: int = 2, temperature: float = 0.1, frames: int = 8
    ):
        super().__init__(encoder.space)
        if not 1 <= reach <= margin:
            raise ValueError(
                f"positives reach {reach} frames and negatives begin beyond {margin}; set 1 <= reach <= margin"
            )
        self.encoder, self.reach, self.margin, self.frames = encoder, reach, margin, frames
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim
        self.sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the contrastive loss and the values to log.

        Args:
            batch: Rows (T, B, ...) under "obs" with T > reach; optionally "first" (T, B) where a new video begins.

        Raises:
            ValueError: If there are too few frames.
        """
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
    """Return a number per video and the time of each frame, both (T * B,), for first (T, B)."""
    steps, count = first.shape
    episode = first.long().cumsum(0)
    film = episode * count + torch.arange(count, device=first.device)
    return film.flatten(), torch.arange(steps, device=first.device).repeat_interleave(count)


def squared_distances(x: Tensor) -> Tensor:
    """Mean squared difference (N, N) of vectors (N, D)."""
    square = x.square().mean(1)
    return (square[:, None] + square - 2 * (x @ x.T) / x.shape[1]).clamp_min(0)


def drawn_positive(film: Tensor, time: Tensor, count: int, reach: int) -> Tensor:
    """Sample for each frame another frame of its video at most `reach` away, (N,) int64; -1 if there is none."""
    apart = torch.randint(1, reach + 1, film.shape, device=film.device)
    side = torch.where(torch.rand(film.shape, device=film.device) < 0.5, 1, -1)
    here, chosen = torch.arange(len(film), device=film.device), torch.full_like(film, -1)
    for step in (-side * apart, side * apart):  # if both sides exist, the second one wins
        there = here + step * count
        inside = (there >= 0) & (there < len(film))
        same = inside & (film[there.clamp(0, len(film) - 1)] == film)
        chosen = torch.where(same, there, chosen)
    return chosen


def time_contrast(distance: Tensor, positive: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of identifying the positive among the negatives by distance, and how often the positive is nearest.

    Args:
        distance: Distances (N, N).
        positive: Column of each frame's positive (N,); -1 skips the frame.
        near: Frames (N, N) bool that are not used as negatives.
    """
    rows = (positive >= 0).nonzero()[:, 0]
    logits = -distance[rows]
    to_positive = logits.gather(1, positive[rows, None])
    others = logits.masked_fill(near[rows], float("-inf"))
    every = torch.cat([to_positive, others], 1)
    target = torch.zeros(len(rows), dtype=torch.int64, device=distance.device)
    right = (every.detach().argmax(1) == 0).float().mean()
    return nn.functional.cross_entropy(every, target), right
