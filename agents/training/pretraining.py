"""The learning rule and the loop of self-supervision: clips in, an encoder out; it logs, saves and resumes."""

import json
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Array
from embodia.agents.training import checkpoint
from embodia.agents.training.device import choose_device
from embodia.agents.training.interrupt import stop_on_signals
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import rng_state, set_rng_state
from embodia.agents.training.rows import NonFinite
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder, SelfSupervised

ENCODER, ABOUT = "encoder.safetensors", "encoder.json"
Precision = Literal["float32", "bfloat16"]


class Clips(Protocol):
    """Where the pictures come from."""

    space: spaces.Dict
    """What a frame holds."""

    def batch(self, n: int) -> dict[str, Array]:
        """n clips as the rows of observations, each (T, n, ...)."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class PretrainingConfig:
    """How a self-supervised encoder is trained."""

    steps: int = 2_000
    """Updates."""
    batch_size: int = 128
    """Clips per update."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd has momentum 0.9."""
    learning_rate: float = 1e-3
    """Of the optimizer, at its highest."""
    warmup: int = 100
    """Updates in which the learning rate rises from 0; then it falls to 0 along a cosine."""
    weight_decay: float = 1e-4
    """Of matrices and kernels; biases and norms have none."""
    clip: float = 3.0
    """Greatest norm of the gradient."""
    precision: Precision = "float32"
    """bfloat16 computes the loss under autocast; twice as fast where the processor has it."""
    seed: int = 0
    """Of weights, augmentation and the order of clips."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    log_every: int = 20
    """Updates between two lines of metrics.jsonl."""
    save_seconds: float = 300.0
    """Seconds between checkpoints [s], and so the most that a crash can lose."""
    keep: int = 2
    """Newest checkpoints kept; 0 keeps all."""


class Pretraining:
    """A self-supervised method with its optimizer.

    Args:
        method: is trained; what it says is `kept` is saved.
        config: how.
        about: written beside the weights as `encoder.json`: how to build the encoder again.
    """

    def __init__(self, method: SelfSupervised, config: PretrainingConfig, about: Mapping[str, Any] | None = None):
        self.config, self.about = config, dict(about or {})
        self.device = choose_device(config.device)
        self.method = method.to(self.device)
        self.observation_space = method.space
        self.updates, self.warned = 0, False
        groups = self._groups()
        if config.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, config.learning_rate, momentum=0.9)
        else:
            self.optimizer = torch.optim.AdamW(groups, config.learning_rate, fused=True)

    @property
    def encoder(self) -> Encoder:
        return self.method.kept

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by whether they decay and their steady rate, 0 for annealed ones; a teacher's are left out."""
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in self.method.named_parameters():
            if not name.startswith("teacher."):
                steady = self.method.steady.get(name.split(".")[0], 0.0)
                groups.setdefault((parameter.ndim > 1, steady), []).append(parameter)
        decay = self.config.weight_decay
        return [
            {"params": parameters, "weight_decay": decay if decays else 0.0, "steady": steady}
            for (decays, steady), parameters in groups.items()
        ]

    def _set_learning_rate(self) -> None:
        c = self.config
        rise = min(1.0, (self.updates + 1) / max(1, c.warmup))
        progress = max(0, self.updates - c.warmup) / max(1, c.steps - c.warmup)
        fall = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = c.learning_rate * rise * (group["steady"] or fall)

    def update(self, obs: Mapping[str, Array | Tensor]) -> dict[str, float]:
        """One step on clips, each key (T, n, ...), or on single pictures (n, ...); the numbers to log."""
        self.method.train()
        self._set_learning_rate()
        batch = {"obs": {key: torch.as_tensor(value, device=self.device) for key, value in obs.items()}}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            loss, logged = self.method.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), self.config.clip)
        self.optimizer.step()
        self.method.after_update()
        self.updates += 1
        return {**{name: float(value) for name, value in logged.items()}, "gradient_norm": float(norm)}

    def save(self, folder: Path) -> None:
        """`encoder.safetensors`; how to build it, and what else is remembered, goes into `encoder.json`."""
        save_weights(self.encoder, folder / ENCODER)
        (folder / ABOUT).write_text(json.dumps({**self.about, "step": self.updates}, indent=2))

    def load(self, folder: Path) -> None:
        load_weights(self.encoder, folder / ENCODER)

    def training_state(self) -> dict[str, Any]:
        method = {name: value.detach().cpu() for name, value in self.method.state_dict().items()}
        return {"method": method, "optimizer": self.optimizer.state_dict(), "updates": self.updates}

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]


def pretrain(
    learner: Pretraining, clips: Clips, folder: Path, *, logger: Logger | None = None, resume: bool = False
) -> int:
    """Train for `config.steps` updates into `folder/checkpoints`; gives the updates made, fewer if interrupted.

    Ctrl-C and SIGTERM end it between two updates, with a checkpoint. A resumed run goes on bit for bit on a CPU.

    Raises:
        CheckpointError: where a checkpoint cannot be written, or does not fit.
        FileExistsError: where the folder holds checkpoints and `resume` is not set.
        NonFinite: where the loss is not a number.
    """
    checkpoints, config = folder / "checkpoints", learner.config
    if not resume and checkpoint.list_steps(checkpoints):
        raise FileExistsError(f"{checkpoints} holds another run's checkpoints; resume it or choose another folder")
    logger = logger or Logger(folder, tensorboard=False, console=False)
    if resume:
        restore(checkpoints, learner, clips, logger)
    logger.start(learner.updates, config.steps)
    saved, saved_at = learner.updates, time.monotonic()
    with stop_on_signals() as stop:
        while learner.updates < config.steps and not stop.requested:
            numbers = learner.update(clips.batch(config.batch_size))
            check_loss(numbers["loss"], learner.updates)
            logger.add(numbers)
            if learner.updates % config.log_every == 0 or learner.updates == config.steps:
                warn_of_collapse(logger.write(learner.updates), learner)
            if time.monotonic() - saved_at > config.save_seconds:
                save(checkpoints, learner, clips, logger)
                saved, saved_at = learner.updates, time.monotonic()
            logger.tick(learner.updates)
    if learner.updates > saved or not checkpoint.list_steps(checkpoints):
        save(checkpoints, learner, clips, logger)
    return learner.updates


def check_loss(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise NonFinite(f"the loss is {loss} at update {step}; lower the learning rate")


def warn_of_collapse(numbers: Mapping[str, float], learner: Pretraining) -> None:
    """Once a run: all embeddings in one point teach nothing."""
    if numbers.get("embedding_std", 1.0) < 0.05 and learner.updates > learner.config.warmup and not learner.warned:
        learner.warned = True
        warnings.warn(
            f"collapse at update {learner.updates}: the embeddings' deviation on the sphere is "
            f"{numbers['embedding_std']:.3f} (1 spread, 0 one point)",
            stacklevel=2,
        )


def save(folder: Path, learner: Pretraining, clips: Clips, logger: Logger) -> Path:
    """A checkpoint from which pretraining goes on bit for bit."""
    training = {
        "learner": learner.training_state(),
        "clips": clips.state_dict(),
        "logger": logger.state_dict(),
        "rng": rng_state(),
    }
    path = checkpoint.save(folder, learner.updates, learner, training)
    checkpoint.prune(folder, learner.config.keep)
    return path


def restore(folder: Path, learner: Pretraining, clips: Clips, logger: Logger) -> None:
    """Put the newest whole checkpoint into fresh objects; nothing where there is none yet."""
    if not checkpoint.list_steps(folder):
        return
    path = checkpoint.latest(folder)
    if path is None:
        raise checkpoint.CheckpointError(f"{folder}: none of the checkpoints here is whole; begin the run again")
    found = checkpoint.load(path)
    checkpoint.check_fits(found, learner)
    training = found.training()
    learner.set_training_state(training["learner"])
    clips.load_state_dict(training["clips"])
    logger.load_state_dict(training["logger"])
    set_rng_state(training["rng"])
