"""LaProp with adaptive gradient clipping: the optimizer of DreamerV3 (Ziyin et al. 2020; Brock et al. 2021)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class LaProp(torch.optim.Optimizer):
    """LaProp: Adam with the momentum applied after the normalisation, so it does not average differently scaled steps.

    Each parameter's gradient is first clipped to `clip` times the parameter's norm (adaptive gradient clipping).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        clip: float = 0.3,
        warmup: int = 1000,
    ):
        """`warmup`: steps over which the learning rate rises linearly from zero."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "clip": clip, "warmup": warmup})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step with the present gradients; `closure` is ignored."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update_one(parameter, group)

    def update_one(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        assert parameter.grad is not None
        if not state:
            state["step"] = torch.tensor(0.0)
            state["square"], state["momentum"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        limit = group["clip"] * parameter.norm().clamp_min(1e-3)
        gradient = parameter.grad * (limit / parameter.grad.norm().clamp_min(1e-12)).clamp_max(1.0)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scaled = gradient / ((state["square"] / (1 - beta2**step)).sqrt() + group["eps"])
        state["momentum"].mul_(beta1).add_(scaled, alpha=1 - beta1)
        lr = group["lr"] * min(1.0, step / max(1, group["warmup"]))
        parameter.sub_(state["momentum"] / (1 - beta1**step), alpha=lr)
