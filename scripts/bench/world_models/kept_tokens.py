"""DINO-WM learns on the tokens of a whole recording, which its frozen encoder makes once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.planners.models.dino_wm import DINOWM
from embodia.scripts.bench.harness.short_training import ticks

Array = NDArray[Any]


def learn_on_kept_tokens(
    model: DINOWM, rgb: Tensor, action: Tensor, draw: Callable[[], tuple[Array, Array]], updates: int, bf16: bool
) -> float:
    """One-step prediction by AdamW; the error over that of no change, a mean of the last 200 updates.

    Args:
        rgb: pictures (T, N, H, W, 3) uint8.
        action: (T, N, ...) or (T - 1, N, ...), what was done at each of them.
        draw: an update's worlds and times (batch,), each with a next row of the same episode.
        updates: after which the rate has fallen from 3e-3 to a twentieth.
        bf16: linear layers in bfloat16.
    """
    with torch.no_grad():
        tokens = torch.cat([model.encode({"rgb": part}) for part in rgb.split(64, 1)], 1)  # (T, N, P, D)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.95))
    share: list[float] = []
    for step in ticks("model", updates):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, step / 50) * (1 - 0.95 * step / updates)
        i, t = draw()
        pair, first = torch.stack([tokens[t, i], tokens[t + 1, i]]), torch.zeros(2, len(i), dtype=torch.bool)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, numbers = model.loss_of(pair, model.encode_action(action[t, i])[None], first)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        share.append(float(numbers["of_no_change"].detach()))
    return float(np.mean(share[-200:]))
