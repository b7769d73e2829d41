"""DINO-WM learns on the tokens of a whole recording, which its frozen encoder makes once."""

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
    """A DINO-WM as a learner of pairs of frames whose tokens are known."""

    def __init__(self, model: DINOWM):
        super().__init__()
        self.model = model

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """tokens (2, n, P, D) of two frames and the action (n, ...) between them."""
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
    """One-step prediction; the error over that of no change, a mean of the last 200 updates.

    Args:
        rgb: pictures (T, N, H, W, 3) uint8.
        action: (T, N, ...) or (T - 1, N, ...), what was done at each of them.
        draw: an update's worlds and times (n,), each with a next row of the same episode.
        updates: after which the rate has fallen to a twentieth.
        seed: of the draws.
        precision: of the loss.
    """
    with torch.no_grad():
        tokens = torch.cat([model.encode({"rgb": part}) for part in rgb.split(64, 1)], 1)  # (T, N, P, D)

    def pairs(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        i, t = draw(rng, n)
        return {"tokens": torch.stack([tokens[t, i], tokens[t + 1, i]]), "action": action[t, i]}

    config = replace(TRAINING, steps=updates, seed=seed, precision=precision)
    now = fit(OnTokens(model), RandomBatches(pairs, seed), config)
    return float(np.mean([line["of_no_change"] for line in now.lines[-200:]]))
