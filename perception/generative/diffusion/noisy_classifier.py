"""A classifier of noisy samples, for classifier guidance (Dhariwal and Nichol 2021)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative.diffusion.schedule import Schedule
from embodia.perception.generative.noise import per_sample


class NoisyClassifier(nn.Module):
    """Learns p(y | x_t) at all noise levels, or of clean data only (the control, which guides badly).

    Args:
        network: (x, time) -> logits (B, classes).
        schedule: the noise levels of the model to be guided.
        noisy: train on noised samples.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, noisy: bool = True):
        super().__init__()
        self.network, self.schedule, self.noisy = network, schedule, noisy

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of "condition" int64 (B,), the classes of "x"."""
        x, label = batch["x"], batch["condition"]
        t = torch.randint(self.schedule.steps, (len(x),), device=x.device)
        if self.noisy:
            alpha, sigma = (per_sample(each, x) for each in self.schedule.at(t))
            x = alpha * x + sigma * torch.randn_like(x)
        logits = self.network(x, self.schedule.time(t))
        return F.cross_entropy(logits, label), {"accuracy": (logits.argmax(1) == label).float().mean()}

    def log_prob(self, label: Tensor) -> Callable[[Tensor, int], Tensor]:
        """(x_t, t) -> log p(label | x_t), (B,): what `by_gradient` takes."""

        def of(x: Tensor, t: int) -> Tensor:
            level = torch.full((len(x),), t, device=x.device)
            logits = self.network(x, self.schedule.time(level))
            return logits.log_softmax(1).gather(1, label[:, None])[:, 0]

        return of
