"""Optimization of a learner's weights: optimizer, schedule, precision, clipping, averaged weights."""

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

from embodia.agents.training import distributed
from embodia.agents.training.device import choose_device
from embodia.agents.training.schedules import SCHEDULES, Schedule
from embodia.agents.training.weights import save_weights

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class OptimizationConfig:
    """Optimization. A learner with its own optimizers uses only steps, schedule, warmup, average and device."""

    steps: int = 2_000
    """Number of updates."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimizer. adamw decouples weight decay from the gradient, adam adds it to the gradient."""
    learning_rate: float = 1e-3
    """Peak learning rate; the schedule scales it."""
    schedule: Schedule = "cosine"
    """Learning-rate schedule: cosine to 0, linear to a twentieth, constant, trapezoid (constant, then linear to 0 over
    the last quarter), or one_cycle."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0; one_cycle has its own."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 1e-4
    """Weight decay of matrices and kernels."""
    decay_all: bool = False
    """Apply weight decay to biases and norms too, as PyTorch does by default."""
    clip: float | None = 3.0
    """Maximum gradient norm (gradients are clipped to it); None for no limit."""
    precision: Precision = "float32"
    """Precision of the loss. bfloat16 and float16 use autocast; float16, for GPUs without bfloat16, also scales it."""
    average: float = 0.0
    """Decay of an exponential moving average of the weights, such as 0.999; 0 for none. The averaged weights are
    evaluated and saved instead of the last ones."""
    compile: bool = False
    """Compile the loss with torch.compile; on a CPU this needs a C++ compiler."""
    fused: bool = True
    """Use Adam's fused kernel. Without it Adam loops over the weights, which is slower and rounds differently."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""


class Optimization:
    """A learner with its optimizers; `update` is one step.

    Args:
        learner: an `nn.Module` with the methods of `agents.Learner`. Weights that require no gradient at this point are
            never trained.
        config: the hyperparameters.
        name: name of the files that `save` writes.
        about: written to NAME.json, to rebuild the module from.

    Raises:
        TypeError: if the learner lacks a method.
        ValueError: if the device does not exist.
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
        # The peak learning rates. They are not stored in the groups, because loading a checkpoint replaces those.
        self.rates = [[(each["lr"], each.get("steady", 0.0)) for each in o.param_groups] for o in self.optimizers]
        if distributed.processes() > 1 and (config.compile or (self.steps_itself and self.optimizers)):
            what = "compile" if config.compile else f"{type(learner).__name__}, which has optimizers of its own,"
            raise ValueError(f"{what} does not work in several processes yet; train in one")
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
        """The module to be saved, with its latest weights."""
        kept: nn.Module = getattr(self.learner, "kept", self.learner)
        return kept

    @property
    def kept(self) -> nn.Module:
        """The module to be saved, with averaged weights if there are any."""
        return self.average.module if self.average is not None else self.current

    def update(self, batch: Any) -> dict[str, Any]:
        """Take one training step; return the numbers to log, some of them scalar tensors on the device."""
        self.learner.train()
        self._set_rates()
        batch = on_device(batch, self.device)
        numbers = self.learner.update(batch) if self.steps_itself else self._descend(batch)
        self.updates += 1
        if self.average is not None:
            self.average.update_parameters(self.current)
        return {**numbers, "learning_rate": self.optimizers[0].param_groups[0]["lr"]} if self.optimizers else numbers

    def _set_rates(self) -> None:
        """Set the learning rates of this update."""
        c = self.config
        share = SCHEDULES[c.schedule](self.updates, c.steps, c.warmup)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, (highest, steady) in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = highest * share.rise * (steady or share.fall)
                if share.momentum is not None and "betas" in group:
                    group["betas"] = (share.momentum, group["betas"][1])
                elif share.momentum is not None:
                    group["momentum"] = share.momentum

    def _descend(self, batch: Any) -> dict[str, Tensor]:
        """Take one optimizer step on the learner's loss."""
        (optimizer,), precision = self.optimizers, self.config.precision
        with torch.autocast(self.device.type, getattr(torch, precision), enabled=precision != "float32"):
            loss, numbers = self.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        numbers = distributed.averaged(self.learner.parameters(), {"loss": loss, **numbers})
        self.scaler.unscale_(optimizer)
        limit = math.inf if self.config.clip is None else self.config.clip
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), limit)
        self.scaler.step(optimizer)
        self.scaler.update()
        if hasattr(self.learner, "after_update"):
            self.learner.after_update()
        return {name: value.detach() for name, value in {**numbers, "gradient_norm": norm}.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in evaluation mode, without gradients and with averaged weights if there are any."""
        self.learner.eval()
        self._swap_average()
        try:
            with torch.no_grad():
                yield
        finally:
            self._swap_average()

    def finish(self) -> None:
        """Leave the learner in evaluation mode, with averaged weights if there are any."""
        self.learner.eval()
        self._swap_average()

    def _swap_average(self) -> None:
        """Exchange the latest weights and the averaged ones."""
        if self.average is not None:
            for latest, mean in zip(self.current.parameters(), self.average.module.parameters(), strict=True):
                latest.data, mean.data = mean.data, latest.data

    def save(self, folder: Path) -> None:
        """Write NAME.safetensors, and NAME.json with `about` and the number of updates."""
        save_weights(self.kept, folder / f"{self.name}.safetensors")
        (folder / f"{self.name}.json").write_text(json.dumps({**self.about, "step": self.updates}, indent=2))

    def training_state(self) -> dict[str, Any]:
        """Return all that training needs to continue: weights, optimizers, loss scale, averaged weights."""
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
    """Raise TypeError naming the method that the learner's class lacks."""
    name = type(learner).__name__
    if not isinstance(learner, nn.Module):
        raise TypeError(f"{name} is not a learner: derive it from torch.nn.Module (or from Agent)")
    if not hasattr(learner, "update") and not hasattr(learner, "loss"):
        raise TypeError(f"{name} is not a learner: add loss(batch) -> (scalar tensor, {{name: scalar tensor}})")
    if hasattr(learner, "update") and not hasattr(learner, "optimizers"):
        raise TypeError(f"{name} has an update method but no optimizers: add an attribute `optimizers`, a list of them")


def make_optimizer(learner: nn.Module, config: OptimizationConfig) -> Optimizer:
    c, groups = config, parameter_groups(learner, config)
    if c.optimizer == "sgd":
        return torch.optim.SGD(groups, c.learning_rate, c.momentum)
    kind = torch.optim.AdamW if c.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, c.learning_rate, c.betas, fused=c.fused)


def parameter_groups(learner: nn.Module, config: OptimizationConfig) -> list[dict[str, Any]]:
    """Group the weights that require a gradient by weight decay and by their `steady` rate (0: annealed)."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    steady: Mapping[str, float] = getattr(learner, "steady", {})
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, steady.get(name.split(".")[0], 0.0))
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise TypeError(f"{type(learner).__name__} has no weights that require a gradient; there is nothing to train")
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_kernel or config.decay_all else 0.0,
            "steady": rate,
        }
        for (is_kernel, rate), parameters in groups.items()
    ]


def on_device(tree: Any, device: torch.device) -> Any:
    """Move the arrays and tensors of nested dicts and tuples to the device."""
    if isinstance(tree, Mapping):
        return {key: on_device(value, device) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(on_device(value, device) for value in tree)
    return torch.as_tensor(tree, device=device) if isinstance(tree, np.ndarray | Tensor) else tree
