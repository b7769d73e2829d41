"""The one training loop on data: batches in, a trained learner out; it logs, evaluates, saves and resumes."""

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
from embodia.agents.training import checkpoint
from embodia.agents.training.interrupt import Stop, stop_on_signals
from embodia.agents.training.logger import Logger
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.rng import rng_state, set_rng_state
from embodia.agents.training.rows import NonFinite

Evaluate = Callable[[], Mapping[str, float]]
"""Scores of the learner as it is, by name."""


@dataclass(frozen=True)
class FitConfig(OptimizationConfig):
    """How a learner is trained on data."""

    batch_size: int = 128
    """Examples per update."""
    seed: int = 0
    """For whoever builds learner and data: of weights, of random changes and of the order of batches."""
    log_every: int = 20
    """Updates between two lines of metrics.jsonl."""
    eval_every: int = 0
    """Updates between evaluations; 0 evaluates only at the end."""
    save_seconds: float = 300.0
    """Seconds between checkpoints [s], and so the most that a crash can lose."""
    keep: int = 2
    """Newest checkpoints kept beside the best one; 0 keeps all."""


@dataclass
class Progress:
    """How far training is."""

    updates: int = 0
    """Made; fewer than `config.steps` where somebody interrupted it."""
    logged: int = 0
    """Update of the last line in metrics.jsonl."""
    evaluated: int = 0
    """Update of the last evaluation."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of the last evaluation."""
    lines: list[dict[str, float]] = field(default_factory=list)
    """What was logged since this call began, oldest first: means between two lines."""


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
    """Train `learner` in place for `config.steps` updates and leave it as it is judged, in evaluation mode.

    Ctrl-C and SIGTERM end it between two updates, with a checkpoint; a second Ctrl-C ends it at once. The global
    random generators go on from where they are: seed them (`rng.seed_all`) before learner and data are built.

    Args:
        learner: an `nn.Module` as `agents.Learner` says, or an `Agent`, which has its own optimizers and rates.
        data: gives batches.
        config: how.
        folder: the run; checkpoints go to `folder/checkpoints`. None saves nothing.
        logger: by default `metrics.jsonl` in `folder`, and progress on the console.
        evaluate: called every `config.eval_every` updates and at the end; training's random numbers do not notice.
        decides: the score that says which checkpoint is the best and stays, the highest; `-NAME` for the lowest. By
            default the first.
        resume: go on from the newest whole checkpoint, on a CPU bit for bit.
        name: of the files in a checkpoint that hold what is kept, NAME.safetensors and NAME.json; not for agents.
        about: goes into NAME.json: how to build what is kept again.
        meta: goes into every checkpoint's meta.json.

    Raises:
        CheckpointError: where a checkpoint cannot be written, or does not fit.
        FileExistsError: where the folder holds checkpoints and `resume` is not set.
        KeyboardInterrupt: where it was interrupted and there is no folder to save in.
        NonFinite: where the loss is not a number; the last checkpoint is from before.
        TypeError: where the learner lacks a method of its contract.
    """
    config = config or FitConfig()
    checkpoints = Path(folder) / "checkpoints" if folder is not None else None
    if checkpoints is not None and not resume and checkpoint.list_steps(checkpoints):
        raise FileExistsError(f"{checkpoints} holds another run's checkpoints; resume it or choose another folder")
    trained = learner if isinstance(learner, Agent) else Optimization(learner, config, name, about)
    with nullcontext(logger) if logger else Logger(folder, tensorboard=False) as log, stop_on_signals() as stop:
        now = restore(checkpoints, trained, data, log) if checkpoints is not None and resume else Progress()
        watch, saved, saved_at = Watch(config.warmup), now.updates, time.monotonic()
        log.start(now.updates, config.steps)
        while True:
            done = now.updates >= config.steps
            if due(config.log_every, now.logged, now.updates, done):
                watch.check(now.updates)
                now.lines.append(log.write(now.updates))
                watch.collapse(now.lines[-1], now.updates)
                now.logged = now.updates
            eval_due = not stop.requested and due(config.eval_every, now.evaluated, now.updates, done)
            if evaluate is not None and eval_due:
                score(evaluate, trained, now, log, stop)
            overdue = time.monotonic() - saved_at > config.save_seconds or now.evaluated == now.updates
            if checkpoints is not None and due(0, saved, now.updates, done or stop.requested or overdue):
                watch.check(now.updates)
                save(checkpoints, trained, data, log, now, decides, meta)
                checkpoint.prune(checkpoints, config.keep)
                saved, saved_at = now.updates, time.monotonic()
            if done or stop.requested:
                break
            numbers = trained.update(data.batch(config.batch_size))
            now.updates += 1
            watch.add(numbers)
            log.add(numbers)
            log.tick(now.updates)
    if isinstance(trained, Optimization):
        trained.finish()
    if stop.requested and checkpoints is None:
        raise KeyboardInterrupt
    return now


def due(every: int, since: int, updates: int, at_any_rate: bool) -> bool:
    """Whether it is a multiple of `every`, or something new is to be told at any rate."""
    return updates > since and (at_any_rate or (every > 0 and updates % every == 0))


def score(evaluate: Evaluate, trained: Agent | Optimization, now: Progress, logger: Logger, stop: Stop) -> None:
    """Evaluate between two updates; given up where somebody asks to stop, and then made up for on resume."""
    generators = rng_state()
    evaluating = trained.evaluating() if isinstance(trained, Optimization) else nullcontext()
    with stop.at_once(), evaluating:
        now.scores = {name: float(value) for name, value in evaluate().items()}
        now.evaluated = now.updates
        logger.record(now.updates, {f"eval/{name}": value for name, value in now.scores.items()})
    set_rng_state(generators)


class Watch:
    """Looks for a loss that is no number and for collapse; it does not wait for the device at every update."""

    def __init__(self, warmup: int):
        self.warmup, self.warned = warmup, False
        self.losses: list[Tensor] = []  # of the updates since the last look

    def add(self, numbers: Mapping[str, Any]) -> None:
        if "loss" in numbers:
            self.losses.append(torch.as_tensor(numbers["loss"]).detach())

    def check(self, updates: int) -> None:
        """Raises NonFinite naming the update, the last of which was number `updates`."""
        losses = torch.stack(self.losses).tolist() if self.losses else []
        self.losses.clear()
        for update, loss in enumerate(losses, start=updates - len(losses) + 1):
            if not math.isfinite(loss):
                raise NonFinite(f"the loss is {loss} at update {update}; lower the learning rate")

    def collapse(self, line: Mapping[str, float], updates: int) -> None:
        """Once a run: all embeddings in one point teach nothing."""
        if line.get("embedding_std", 1.0) < 0.05 and updates > self.warmup and not self.warned:
            self.warned = True
            warnings.warn(
                f"collapse at update {updates}: the embeddings' deviation on the sphere is "
                f"{line['embedding_std']:.3f} (1 spread, 0 one point)",
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
) -> Path:
    """A checkpoint from which training goes on bit for bit."""
    training = {
        "learner": trained.training_state(),
        "data": data.state_dict(),
        "logger": logger.state_dict(),
        "rng": rng_state(),
        "progress": {key: value for key, value in vars(now).items() if key != "lines"},
    }
    judged = now.scores if now.evaluated == now.updates else {}
    told = {"agent": kind_of(trained), "score": deciding(judged, decides), "scores": judged, **(meta or {})}
    return checkpoint.save(folder, now.updates, trained, training, told)


def kind_of(trained: Agent | Optimization) -> str:
    return type(trained.learner if isinstance(trained, Optimization) else trained).__name__


def deciding(scores: Mapping[str, float], decides: str | None) -> float | None:
    """The number of which the highest is the best; None where nothing was evaluated. Raises KeyError."""
    if not scores:
        return None
    if decides is None:
        return next(iter(scores.values()))
    return -scores[decides[1:]] if decides.startswith("-") else scores[decides]


BEFORE_FIT = "Pretraining"
"""The class that checkpoints of encoders name which were written before `fit` trained them."""


def restore(folder: Path, trained: Agent | Optimization, data: Data, logger: Logger) -> Progress:
    """Put the newest whole checkpoint into fresh objects; nothing where there is none yet.

    Raises:
        CheckpointError: where none is whole, or it does not fit.
    """
    if not checkpoint.list_steps(folder):
        return Progress()
    path = checkpoint.latest(folder)
    if path is None:
        raise checkpoint.CheckpointError(f"{folder}: none of the checkpoints here is whole; begin the run again")
    found = checkpoint.load(path)
    if found.meta["agent"] not in (kind_of(trained), BEFORE_FIT):
        wrote = f"written by {found.meta['agent']}, this learner is {kind_of(trained)}"
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
    return Progress(**training["progress"])


def as_now(training: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an encoder's training as it was kept before there was `fit`, as it is kept now."""
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
