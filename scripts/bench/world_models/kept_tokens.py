"""Train DINO-WM on the tokens of a recording, which its frozen encoder computes once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.optimization import Precision
from embodia.agents.training.random_batches import RandomBatches
from embodia.planners.models.dino_wm import DINOWM

Array = NDArray[Any]
TRAINING = FitConfig(
    batch_size=64,
    learning_rate=3e-3,
    schedule="linear",
    warmup=50,
    betas=(0.9, 0.95),
    weight_decay=0.01,
    decay_all=True,
    clip=None,
    fused=False,
    device="cpu",
    log_every=1,
)


class OnTokens(nn.Module):
    """A DINO-WM as a learner of pairs of frames with known tokens."""

    def __init__(self, model: DINOWM):
        super().__init__()
        self.model = model

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One-step prediction loss of tokens (2, n, P, D) of two frames and the action (n, ...) between them."""
        first = torch.zeros(batch["tokens"].shape[:2], dtype=torch.bool)
        return self.model.loss_of(batch["tokens"], self.model.encode_action(batch["action"])[None], first)


def learn_on_kept_tokens(
    model: DINOWM,
    rgb: Tensor,
    action: Tensor,
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]],
    updates: int,
    seed: int,
    precision: Precision = "float32",
) -> float:
    """Train the model to predict the next frame.

    Args:
        rgb: frames (T, N, H, W, 3) uint8.
        action: actions (T, N, ...) or (T - 1, N, ...) at these frames.
        draw: samples worlds and times (n,) whose next row belongs to the same episode.
        updates: number of updates, over which the learning rate falls to a twentieth.
        seed: seed of the samples.
        precision: precision of the loss.

    Returns:
        The prediction's error over that of no change, averaged over the last 200 updates.
    """
    with torch.no_grad():
        tokens = torch.cat([model.encode({"rgb": part}) for part in rgb.split(64, 1)], 1)  # (T, N, P, D)

    def pairs(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        i, t = draw(rng, n)
        return {"tokens": torch.stack([tokens[t, i], tokens[t + 1, i]]), "action": action[t, i]}

    config = replace(TRAINING, steps=updates, seed=seed, precision=precision)
    now = fit(OnTokens(model), RandomBatches(pairs, seed), config)
    return float(np.mean([line["of_no_change"] for line in now.lines[-200:]]))
