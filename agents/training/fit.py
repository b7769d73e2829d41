"""The one training loop on data: it updates a learner on batches, logs, evaluates, saves and resumes."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embodia.agents import Agent, Data
from embodia.agents.training import checkpoint, distributed
from embodia.agents.training.interrupt import Stop, stop_on_signals
from embodia.agents.training.logger import Logger
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.rng import rng_state, set_rng_state, set_threads
from embodia.agents.training.rows import NonFinite
from embodia.perception.global_batch import part_of_batch

Evaluate = Callable[[], Mapping[str, float]]
"""Gives the learner's current scores by name."""


@dataclass(frozen=True)
class FitConfig(OptimizationConfig):
    """How a learner is trained on data."""

    batch_size: int = 128
    """Examples per update."""
    seed: int = 0
    """Random seed of the weights, augmentation and order of batches (`fit` itself does not use it)."""
    log_every: int = 20
    """Log metrics every this many updates."""
    eval_every: int = 0
    """Updates between evaluations; 0 evaluates only at the end."""
    save_seconds: float = 300.0
    """Time between checkpoints [s]; a crash loses at most this much training."""
    keep: int = 2
    """Number of newest checkpoints to keep, in addition to the best one; 0 keeps all."""


@dataclass
class Progress:
    """State of training."""

    updates: int = 0
    """Number of updates so far."""
    logged: int = 0
    """Update of the last line in metrics.jsonl."""
    evaluated: int = 0
    """Update of the last evaluation."""
    scores: dict[str, float] = field(default_factory=dict)
    """Scores of the last evaluation."""
    lines: list[dict[str, float]] = field(default_factory=list)
    """The lines logged by this call, oldest first; each holds the means since the line before."""


def fit(
    learner: nn.Module | Agent,
    data: Data,
    config: FitConfig | None = None,
    folder: Path | str | None = None,
    *,
    logger: Logger | None = None,
    evaluate: Evaluate | None = None,
    decides: str | None = None,
    resume: bool = False,
    name: str = "weights",
    about: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Progress:
    """Train `learner` in place for `config.steps` updates; leave it in evaluation mode, with averaged weights if any.

    If torchrun has started several processes, each learns from its part of every batch (see `distributed`).
    Ctrl-C and SIGTERM stop training between two updates, after a checkpoint; a second Ctrl-C stops it at once. Training
    draws from the global random generators as they are: call `rng.seed_all` before you build learner and data.

    Args:
        learner: an `nn.Module` with the methods of `agents.Learner`, or an `Agent`, which brings its own optimizers and
            learning rates.
        data: gives the batches.
        config: the hyperparameters.
        folder: the run folder; checkpoints go to `folder/checkpoints`. None saves nothing.
        logger: by default writes `metrics.jsonl` to `folder` and shows progress on the console.
        evaluate: called every `config.eval_every` updates and at the end, with the learner in evaluation mode. It does
            not change the random numbers of training.
        decides: the evaluation score that selects the best checkpoint, which is always kept. The highest is best, or
            with a leading minus (`-error`) the lowest. By default the first score.
        resume: continue from the newest intact checkpoint, bit for bit on a CPU; from the start if there is none.
        name: the kept module is saved as NAME.safetensors and NAME.json. Agents name their own files.
        about: written to NAME.json, to rebuild the module from.
        meta: further entries of every checkpoint's meta.json.

    Returns:
        The progress; `updates < config.steps` if training was interrupted.

    Raises:
        CheckpointError: if a checkpoint cannot be written, or does not fit.
        FileExistsError: if the folder holds checkpoints and `resume` is not set.
        KeyboardInterrupt: if it was interrupted and there is no folder to save to.
        NonFinite: if the loss is NaN or infinite; the newest checkpoint is from before that.
        ProcessLost: if another process of this training ended.
        TypeError: if the learner lacks a method.
        ValueError: if the device does not exist, or the evaluation has no score called `decides`.
    """
    config = config or FitConfig()
    checkpoints = Path(folder) / "checkpoints" if folder is not None else None
    if checkpoints is not None and not resume and checkpoint.list_steps(checkpoints):
        raise FileExistsError(f"{checkpoints} holds another run's checkpoints; resume it or choose another folder")
    trained = learner if isinstance(learner, Agent) else Optimization(learner, config, name, about)
    data, number = distributed.shared(data), distributed.share("batch_size", config.batch_size)
    with (
        nullcontext(logger) if logger else Logger(folder, tensorboard=False) as log,
        stop_on_signals() as stop,
        distributed.naming_the_lost(checkpoints),
    ):
        now = restore(checkpoints, trained, data, log) if checkpoints is not None and resume else Progress()
        watch, saved, saved_at = Watch(config.warmup), now.updates, time.monotonic()
        if checkpoints is not None and not checkpoint.list_steps(checkpoints):
            if resume:
                log.restart()
            save(checkpoints, trained, data, log, now, decides, meta)  # so that a run killed early can be resumed
        log.start(now.updates, config.steps)
        while True:
            done = now.updates >= config.steps
            stops, late = distributed.agreed(stop.requested, time.monotonic() - saved_at > config.save_seconds)
            if due(config.log_every, now.logged, now.updates, done):
                watch.check(now.updates)
                now.lines.append(log.write(now.updates))
                watch.collapse(now.lines[-1], now.updates)
                now.logged = now.updates
            eval_due = not stops and due(config.eval_every, now.evaluated, now.updates, done)
            if evaluate is not None and eval_due:
                score(evaluate, trained, now, log, stop)
                (stops,) = distributed.agreed(stop.requested)
            overdue = late or now.evaluated == now.updates
            if checkpoints is not None and due(0, saved, now.updates, done or stops or overdue):
                watch.check(now.updates)
                save(checkpoints, trained, data, log, now, decides, meta)
                if distributed.leads():
                    checkpoint.prune(checkpoints, config.keep)
                saved, saved_at = now.updates, time.monotonic()
            if done or stops:
                break
            batch = data.batch(number)
            with part_of_batch(number):
                numbers = trained.update(batch)
            now.updates += 1
            watch.add(numbers)
            log.add(numbers)
            log.tick(now.updates)
    if isinstance(trained, Optimization):
        trained.finish()
    if stops and checkpoints is None:
        raise KeyboardInterrupt
    return now


def due(every: int, since: int, updates: int, at_any_rate: bool) -> bool:
    """Return whether `updates` is later than `since` and either a multiple of `every` or due in any case."""
    return updates > since and (at_any_rate or (every > 0 and updates % every == 0))


def score(evaluate: Evaluate, trained: Agent | Optimization, now: Progress, logger: Logger, stop: Stop) -> None:
    """Evaluate between two updates. A request to stop cancels the evaluation; a resumed run repeats it."""
    generators = rng_state()
    evaluating = trained.evaluating() if isinstance(trained, Optimization) else nullcontext()

    def scored() -> tuple[dict[str, float], int]:
        with stop.at_once(), evaluating:
            now.scores = {name: float(value) for name, value in evaluate().items()}
            now.evaluated = now.updates
            logger.record(now.updates, {f"eval/{name}": value for name, value in now.scores.items()})
        return now.scores, now.evaluated

    now.scores, now.evaluated = distributed.by_leader(scored)
    set_rng_state(generators)


class Watch:
    """Checks the loss for NaN and the embeddings for collapse, without waiting for the device at every update."""

    def __init__(self, warmup: int):
        self.warmup, self.warned = warmup, False
        self.losses: list[Tensor] = []  # of the updates since the last check

    def add(self, numbers: Mapping[str, Any]) -> None:
        if "loss" in numbers:
            self.losses.append(torch.as_tensor(numbers["loss"]).detach())

    def check(self, updates: int) -> None:
        """Raise NonFinite for the first non-finite loss since the last check; `updates` is the newest loss's update."""
        losses = torch.stack(self.losses).tolist() if self.losses else []
        self.losses.clear()
        for update, loss in enumerate(losses, start=updates - len(losses) + 1):
            if not math.isfinite(loss):
                raise NonFinite(f"the loss is {loss} at update {update}; lower the learning rate")

    def collapse(self, line: Mapping[str, float], updates: int) -> None:
        """Warn once if the embeddings collapse to one point."""
        if line.get("embedding_std", 1.0) < 0.05 and updates > self.warmup and not self.warned:
            self.warned = True
            warnings.warn(
                f"collapse at update {updates}: the embeddings' standard deviation on the sphere is "
                f"{line['embedding_std']:.3f} (1: spread evenly, 0: all at one point)",
                stacklevel=3,
            )


# Checkpoints ------------------------------------------------------------------------------------------------------


def save(
    folder: Path,
    trained: Agent | Optimization,
    data: Data,
    logger: Logger,
    now: Progress,
    decides: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint from which training continues bit for bit; the leading process writes it for all."""
    training = {
        "learner": trained.training_state(),
        "data": data.state_dict(),
        "logger": logger.state_dict(),
        "rng": rng_state(),
        "threads": torch.get_num_threads(),
        "progress": {key: value for key, value in vars(now).items() if key != "lines"},
    }
    judged = now.scores if now.evaluated == now.updates else {}
    told = {"agent": kind_of(trained), "score": deciding(judged, decides), "scores": judged, **(meta or {})}
    if distributed.leads():
        checkpoint.save(folder, now.updates, trained, training, told)


def kind_of(trained: Agent | Optimization) -> str:
    return type(trained.learner if isinstance(trained, Optimization) else trained).__name__


def deciding(scores: Mapping[str, float], decides: str | None) -> float | None:
    """Return the score that checkpoints are compared by, negated if lower is better; None without an evaluation."""
    if not scores:
        return None
    name = (decides or next(iter(scores))).removeprefix("-")
    if name not in scores:
        raise ValueError(f"decides is {name}, but the evaluation gives {', '.join(scores)}; name one of these")
    return -scores[name] if (decides or "").startswith("-") else scores[name]


BEFORE_FIT = "Pretraining"
"""The class name in checkpoints of encoders that were written by versions without `fit`."""


def restore(folder: Path, trained: Agent | Optimization, data: Data, logger: Logger) -> Progress:
    """Load the newest intact checkpoint into fresh objects; without any checkpoint, leave them as they are.

    Raises:
        CheckpointError: if no checkpoint is intact, or it does not fit.
    """
    if not checkpoint.list_steps(folder):
        return Progress()
    path = checkpoint.latest(folder)
    if path is None:
        raise checkpoint.CheckpointError(f"{folder}: no checkpoint here is intact; start a new run")
    found = checkpoint.load(path)
    if found.meta["agent"] not in (kind_of(trained), BEFORE_FIT):
        wrote = f"written by {found.meta['agent']}, but this learner is {kind_of(trained)}"
        raise checkpoint.CheckpointError(f"{path}/meta.json: {wrote}")
    training = found.training()
    if found.meta["agent"] == BEFORE_FIT:
        training = as_now(training)
    if isinstance(trained, Agent):
        checkpoint.check_fits(found, trained)
        trained.load(path)
    try:
        trained.set_training_state(training["learner"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise checkpoint.CheckpointError(f"{path}: does not fit this {kind_of(trained)}: {error}") from error
    data.load_state_dict(training["data"])
    logger.load_state_dict(training["logger"])
    set_rng_state(training["rng"])
    set_threads(training.get("threads"))
    return Progress(**training["progress"])


def as_now(training: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the training state of an encoder that was saved by a version without `fit`."""
    learner = training["learner"]
    updates = learner["updates"]
    return {
        "learner": {
            "learner": learner["method"],
            "optimizers": [learner["optimizer"]],
            "scaler": {},
            "average": {},
            "updates": updates,
        },
        "data": training["clips"],
        "logger": training["logger"],
        "rng": training["rng"],
        "progress": {"updates": updates, "logged": updates},
    }
