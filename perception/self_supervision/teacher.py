"""Momentum teacher: an exponential moving average of a module, without gradients."""

import copy
import math

import torch
from torch import nn


class Teacher(nn.Module):
    """Average of `student`: theta <- m theta + (1 - m) theta_student, for parameters and buffers.

    Args:
        student: Module to copy and follow.
        momentum: Initial momentum m.
        steps: Number of updates over which m rises to 1 along a cosine (Grill et al. 2020, section 3.3); 0 keeps it
            constant.
    """

    steps_taken: torch.Tensor

    def __init__(self, student: nn.Module, momentum: float, steps: int = 0):
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.momentum, self.steps = momentum, steps
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.long))

    def present_momentum(self) -> float:
        """Return m at the current step of the schedule."""
        if self.steps == 0:
            return self.momentum
        progress = min(1.0, self.steps_taken.item() / self.steps)
        return 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Update the average with the student. Integer buffers are copied."""
        m = self.present_momentum()
        theirs = student.state_dict()
        for name, ours in self.module.state_dict().items():
            if ours.is_floating_point():
                ours.lerp_(theirs[name], 1 - m)
            else:
                ours.copy_(theirs[name])
        self.steps_taken += 1
