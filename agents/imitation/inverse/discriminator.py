"""A discriminator of expert and learner, whose logit is a learned reward (Ho & Ermon 2016; Fu, Luo & Levine 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception.encoders.mlp import mlp


class Discriminator(nn.Module):
    """Logit that an observation and action are the expert's; trained by classification, with a gradient penalty.

    Images are scaled to [0, 1], discrete observations and actions are one-hot, and everything is concatenated.

    Args:
        observed: observation space.
        keys: observations to read.
        actions: Discrete or Box.
        hidden: widths of the hidden layers.
        penalty: weight of the gradient penalty, (|gradient| - 1)^2 between the two kinds of examples (Gulrajani et al.
            2017), which keeps the reward smooth where the classes do not overlap.

    Raises:
        TypeError: for another action space.
    """

    def __init__(
        self,
        observed: spaces.Dict,
        keys: Sequence[str],
        actions: spaces.Space[Any],
        hidden: Sequence[int] = (64, 64),
        penalty: float = 1.0,
    ):
        super().__init__()
        if not isinstance(actions, spaces.Discrete | spaces.Box):
            raise TypeError(f"adversarial imitation needs a Discrete or Box action space, not {actions}")
        self.spaces: dict[str, spaces.Space[Any]] = {**{key: observed[key] for key in keys}, "action": actions}
        self.penalty = penalty
        width = sum(spaces.flatdim(each) for each in self.spaces.values())
        self.body = mlp(width, tuple(hidden))
        self.last = nn.Linear((width, *hidden)[-1], 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B,) of `inputs` (B, D)."""
        logit: Tensor = self.last(self.body(inputs))[:, 0]
        return logit

    def inputs(self, obs: Mapping[str, Tensor], action: Tensor) -> Tensor:
        """Concatenate observations (B, ...) and actions (B, ...) to vectors (B, D)."""
        given = {**obs, "action": action}
        return torch.cat([vector(given[key], space) for key, space in self.spaces.items()], -1)

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take inputs {"expert", "learner"}, both (B, D)."""
        expert, learner = self(batch["expert"]), self(batch["learner"])
        ones, zeros = torch.ones_like(expert), torch.zeros_like(learner)
        entropy = F.binary_cross_entropy_with_logits
        classification = (entropy(expert, ones) + entropy(learner, zeros)) / 2
        between = self.gradient_penalty(batch["expert"], batch["learner"])
        accuracy = ((expert > 0).float().mean() + (learner <= 0).float().mean()) / 2
        return classification + self.penalty * between, {"penalty": between, "accuracy": accuracy}

    def gradient_penalty(self, expert: Tensor, learner: Tensor) -> Tensor:
        share = torch.rand(len(expert), 1, device=expert.device)
        mixed = (share * expert + (1 - share) * learner).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self(mixed).sum(), mixed, create_graph=True)
        return (gradient.norm(dim=-1) - 1).square().mean()


def vector(x: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Return values (B, ...) of a space as vectors (B, D)."""
    if isinstance(space, spaces.Discrete):
        return F.one_hot(x.long() - int(space.start), int(space.n)).float()
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    return x.flatten(1).float() / scale
