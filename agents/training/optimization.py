"""How a learner's weights move: optimizer, schedule, precision, clipping, averaged weights."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from embodia.agents.training.checkpoint import save_weights
from embodia.agents.training.device import choose_device
from embodia.agents.training.schedules import SCHEDULES, Schedule

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class OptimizationConfig:
    """How weights move. A learner that brings optimizers of its own uses steps, schedule, warmup, average, device."""

    steps: int = 2_000
    """Updates."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """adam adds weight decay to the gradient, adamw takes it from the weights."""
    learning_rate: float = 1e-3
    """The highest that the schedule comes to."""
    schedule: Schedule = "cosine"
    """How the learning rate goes: cosine to 0, linear to a twentieth, constant, trapezoid (constant, then to 0 in the
    last quarter), or one_cycle."""
    warmup: int = 100
    """Updates in which the learning rate rises from 0; one_cycle has its own."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the running means."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 1e-4
    """Of matrices and kernels."""
    decay_all: bool = False
    """Decay biases and norms too, as PyTorch's optimizers do by default."""
    clip: float | None = 3.0
    """Greatest norm of the gradient; None for no limit."""
    precision: Precision = "float32"
    """bfloat16 and float16 compute the loss under autocast; float16, for GPUs without bfloat16, scales the loss."""
    average: float = 0.0
    """Decay of an exponential moving average of the weights, such as 0.999; 0 for none. The average is what is
    evaluated and kept."""
    compile: bool = False
    """Compile the loss first; on a CPU this needs a C++ compiler."""
    fused: bool = True
    """Adam in one kernel. Without, a loop over the weights, which rounds otherwise and is slower."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""


class Optimization:
    """A learner with its optimizers; `update` is one step.

    Args:
        learner: an `nn.Module` as `agents.Learner` says. A weight that requires no gradient now never learns.
        config: how it learns.
        name: of the files that `save` writes.
        about: what NAME.json is to say: how to build what is kept again.

    Raises:
        TypeError: where the learner lacks a method of the contract.
        ValueError: for CUDA without a CUDA device.
    """

    def __init__(
        self,
        learner: nn.Module,
        config: OptimizationConfig,
        name: str = "weights",
        about: Mapping[str, Any] | None = None,
    ):
        check_learner(learner)
        self.config, self.name, self.about = config, name, dict(about or {})
        self.device = choose_device(config.device)
        self.learner: Any = learner.to(self.device)
        self.steps_itself = hasattr(learner, "update")
        own: Any = self.learner.optimizers if self.steps_itself else [make_optimizer(learner, config)]
        self.optimizers: list[Optimizer] = list(own)
        # The highest rates; not in the groups, which a checkpoint replaces.
        self.rates = [[(each["lr"], each.get("steady", 0.0)) for each in o.param_groups] for o in self.optimizers]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.average: AveragedModel | None = None
        if config.average:
            self.average = AveragedModel(self.current, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        self.loss: Any = getattr(learner, "loss", None)
        if config.compile:
            self.loss = torch.compile(self.loss)
        self.updates = 0

    @property
    def current(self) -> nn.Module:
        """What is to be kept, with its newest weights."""
        kept: nn.Module = getattr(self.learner, "kept", self.learner)
        return kept

    @property
    def kept(self) -> nn.Module:
        """What is kept: with averaged weights where there are any."""
        return self.average.module if self.average is not None else self.current

    def update(self, batch: Any) -> dict[str, Any]:
        """One step; the numbers to log, scalar tensors of the learner's device among them."""
        self.learner.train()
        rate = self._set_rates()
        batch = on_device(batch, self.device)
        numbers = self.learner.update(batch) if self.steps_itself else self._descend(batch)
        self.updates += 1
        if self.average is not None:
            self.average.update_parameters(self.current)
        return {**numbers, "learning_rate": rate}

    def _set_rates(self) -> float:
        """Where the schedule is; gives the first group's rate."""
        c = self.config
        share = SCHEDULES[c.schedule](self.updates, c.steps, c.warmup)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, (highest, steady) in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = highest * share.rise * (steady or share.fall)
                if share.momentum is not None and "betas" in group:
                    group["betas"] = (share.momentum, group["betas"][1])
                elif share.momentum is not None:
                    group["momentum"] = share.momentum
        return float(self.optimizers[0].param_groups[0]["lr"])

    def _descend(self, batch: Any) -> dict[str, Tensor]:
        """One step of the one optimizer down the learner's loss."""
        (optimizer,), precision = self.optimizers, self.config.precision
        with torch.autocast(self.device.type, getattr(torch, precision), enabled=precision != "float32"):
            loss, numbers = self.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)
        limit = math.inf if self.config.clip is None else self.config.clip
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), limit)
        self.scaler.step(optimizer)
        self.scaler.update()
        if hasattr(self.learner, "after_update"):
            self.learner.after_update()
        numbers = {"loss": loss, **numbers, "gradient_norm": norm}
        return {name: value.detach() for name, value in numbers.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The learner as it is judged: without dropout or gradients, and with averaged weights where there are any."""
        self.learner.eval()
        self._swap_average()
        try:
            with torch.no_grad():
                yield
        finally:
            self._swap_average()

    def finish(self) -> None:
        """Leave the learner as it is judged."""
        self.learner.eval()
        self._swap_average()

    def _swap_average(self) -> None:
        """Change the newest weights for the averaged ones; a second time changes them back."""
        if self.average is not None:
            for newest, mean in zip(self.current.parameters(), self.average.module.parameters(), strict=True):
                newest.data, mean.data = mean.data, newest.data

    def save(self, folder: Path) -> None:
        """NAME.safetensors, and NAME.json: what it was told about it, and the update."""
        save_weights(self.kept, folder / f"{self.name}.safetensors")
        (folder / f"{self.name}.json").write_text(json.dumps({**self.about, "step": self.updates}, indent=2))

    def training_state(self) -> dict[str, Any]:
        """All that going on takes: every weight, optimizers, the loss's scale, the average."""
        return {
            "learner": {name: value.detach().cpu() for name, value in self.learner.state_dict().items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "updates": self.updates,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.updates = state["updates"]


def check_learner(learner: Any) -> None:
    """Raises TypeError naming what the contract asks for and the class lacks."""
    name = type(learner).__name__
    if not isinstance(learner, nn.Module):
        raise TypeError(f"{name} is no learner: it must be a torch.nn.Module (or an Agent)")
    if not hasattr(learner, "update") and not hasattr(learner, "loss"):
        raise TypeError(f"{name} is no learner: it lacks loss(batch) -> (scalar tensor, {{name: scalar tensor}})")
    if hasattr(learner, "update") and not hasattr(learner, "optimizers"):
        raise TypeError(f"{name} has an update of its own and so needs optimizers, a list of its torch optimizers")


def make_optimizer(learner: nn.Module, config: OptimizationConfig) -> Optimizer:
    c, groups = config, parameter_groups(learner, config)
    if c.optimizer == "sgd":
        return torch.optim.SGD(groups, c.learning_rate, c.momentum)
    kind = torch.optim.AdamW if c.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, c.learning_rate, c.betas, fused=c.fused)


def parameter_groups(learner: nn.Module, config: OptimizationConfig) -> list[dict[str, Any]]:
    """The weights that learn, by whether they decay and by their `steady` rate, 0 for annealed ones."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    steady: Mapping[str, float] = getattr(learner, "steady", {})
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, steady.get(name.split(".")[0], 0.0))
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise TypeError(f"{type(learner).__name__} has no weight that requires a gradient; there is nothing to train")
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_kernel or config.decay_all else 0.0,
            "steady": rate,
        }
        for (is_kernel, rate), parameters in groups.items()
    ]


def on_device(tree: Any, device: torch.device) -> Any:
    """The same nested dicts and tuples, arrays and tensors in them as tensors on the device."""
    if isinstance(tree, Mapping):
        return {key: on_device(value, device) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(on_device(value, device) for value in tree)
    return torch.as_tensor(tree, device=device) if isinstance(tree, np.ndarray | Tensor) else tree
