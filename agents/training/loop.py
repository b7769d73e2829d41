"""The training loop in environments, for every agent: act, store, learn, step; log, evaluate, save."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodia.agents import Agent, Buffer, VectorEnvironment
from embodia.agents.training import checkpoint, distributed
from embodia.agents.training.evaluate import after_step, ask, make_row, with_mask, world_info
from embodia.agents.training.interrupt import Stop, stop_on_signals
from embodia.agents.training.levels import begun
from embodia.agents.training.logger import Logger
from embodia.agents.training.resume import Progress, resume_training, save_training
from embodia.agents.training.rng import rng_state, set_rng_state
from embodia.agents.training.rows import check_finite
from embodia.agents.training.scores import EpisodeScores, env_id
from embodia.perception.global_batch import part_of_batch

Evaluate = Callable[[], Mapping[str, float]]
"""Returns the agent's current scores by name. The first declared by the environment selects the best checkpoint."""


@dataclass(frozen=True)
class Schedule:
    """Length of training, and how often to log, evaluate and save. Steps are counted over all environments."""

    steps: int = 100_000
    """Number of training steps (executed actions, over all environments)."""
    seed: int = 0
    """Random seed. Environment i starts with level seed + i."""
    log_every: int = 2_000
    """Log metrics every this many steps."""
    eval_every: int = 0
    """Steps between evaluations; 0 evaluates only at the end."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves by time only (`save_seconds`)."""
    save_seconds: float = 300.0
    """Time between checkpoints [s]; a crash loses at most this much training."""
    keep: int = 3
    """Number of newest checkpoints to keep, in addition to the best one; 0 keeps all."""


def train(
    agent: Agent,
    env: VectorEnvironment,
    schedule: Schedule,
    folder: Path | str | None = None,
    *,
    logger: Logger | None = None,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Progress:
    """Train `agent` in place in the environments of `env`.

    If torchrun has started several processes, `env` is this one's share of the environments (see `distributed`).
    Ctrl-C and SIGTERM stop training between two rows, after a checkpoint; a second Ctrl-C stops it at once.

    Args:
        agent: the agent.
        env: a `VectorEnvironment`.
        schedule: number of steps, and how often to log, evaluate and save.
        folder: the run folder; checkpoints go to `folder/checkpoints`. None saves nothing.
        logger: by default writes `metrics.jsonl` to `folder`, without console output.
        evaluate: called every `eval_every` steps and at the end. It does not change the random numbers of training.
        resume: continue from the newest intact checkpoint, bit for bit (on a CPU, if `env` has `get_state`).
        config: written to every checkpoint's meta.json.

    Returns:
        The progress; `step < schedule.steps` if training was interrupted.

    Raises:
        CheckpointError: if a checkpoint cannot be written, or does not fit.
        FileExistsError: if the folder holds checkpoints and `resume` is not set.
        NonFinite: if the environment or the agent gives NaN.
        ProcessLost: if another process of this training ended.
    """
    checkpoints = Path(folder) / "checkpoints" if folder is not None else None
    if checkpoints is not None and not resume and checkpoint.list_steps(checkpoints):
        raise FileExistsError(f"{checkpoints} holds another run's checkpoints; resume it or choose another folder")
    logger = logger or Logger(folder, tensorboard=False, console=False)
    buffer = agent.buffer()
    now = resume_training(checkpoints, agent, env, buffer, logger) if checkpoints is not None and resume else None
    if now is None:
        now = begin(agent, env, schedule.seed + distributed.rank() * env.num_envs)
        if resume:
            logger.restart()
        if checkpoints is not None:  # so that a run that is killed early is resumed, not begun beside itself
            save_training(checkpoints, agent, env, buffer, logger, now, config)
    scores = EpisodeScores(env, now.reported)
    logger.start(now.step, schedule.steps)
    saved_at = time.monotonic()
    with stop_on_signals() as stop, distributed.naming_the_lost(checkpoints):
        while True:
            done = now.step >= schedule.steps
            stops, overdue = distributed.agreed(stop.requested, time.monotonic() - saved_at > schedule.save_seconds)
            if _due(schedule.log_every, now.logged, now.step, done):
                logger.write(now.step)
                now.logged = now.step
            eval_due = not stops and _due(schedule.eval_every, now.evaluated, now.step, done)
            if evaluate is not None and eval_due:
                score(evaluate, now, logger, stop)
                (stops,) = distributed.agreed(stop.requested)
            ends = done or stops or now.evaluated == now.step
            if checkpoints is not None and _due(schedule.save_every, now.saved, now.step, ends or overdue):
                now.saved, saved_at = now.step, time.monotonic()
                save_training(checkpoints, agent, env, buffer, logger, now, config)
                if distributed.leads():
                    checkpoint.prune(checkpoints, schedule.keep)
            if done or stops:
                return now
            advance(agent, env, buffer, logger, now, scores)
            logger.tick(now.step)


def begin(agent: Agent, env: VectorEnvironment, seed: int) -> Progress:
    """Reset the environments and return the progress of a new training."""
    n = env.num_envs
    obs, info = with_mask(*env.reset(seed=[seed + world for world in range(n)]))
    seen = {key: np.zeros(n, bool) for key in ("first", "last", "terminal")}
    seen |= {"reward": np.zeros(n, np.float32), "first": np.ones(n, bool)}
    now = Progress(obs, seen, agent.initial(n), seed, np.zeros(n, int), np.zeros(n), np.zeros(n, int))
    now.levels |= begun(info, range(n))
    check_finite(obs, seen["reward"], lambda world: where(env, now, world))
    return now


def advance(
    agent: Agent, env: VectorEnvironment, buffer: Buffer, logger: Logger, now: Progress, scores: EpisodeScores
) -> None:
    """Process one row: act, store the row, learn from the batches that are due, step the environments."""
    with part_of_batch(env.num_envs):
        action, now.carry, extras = ask(agent, env, now.obs, now.carry, now.seen["first"], "train")
    row = distributed.gathered_rows(make_row(now.obs, now.seen, action, extras))
    buffer.add(row)
    for batch in buffer.batches():
        logger.add(agent.update(batch))
    obs, reward, terminated, truncated, info = env.step(action)
    now.obs, info = with_mask(obs, info)
    now.seen = after_step(now.seen, reward, terminated, truncated)
    restarted, last = now.seen["first"], now.seen["last"]
    now.step += int(len(row["last"]) - np.count_nonzero(row["last"]))  # a world whose row was last has restarted
    now.length = np.where(restarted, 0, now.length + 1)
    now.return_ = np.where(restarted, 0.0, now.return_ + reward)
    check_finite(now.obs, reward, lambda world: where(env, now, world))
    now.levels |= begun(info, np.flatnonzero(restarted))
    for world in np.flatnonzero(last).tolist():
        metrics = scores.read(world_info(info, world).get("metrics", {}), seed_in_words(now, world))
        whole = {"return": now.return_[world], "length": now.length[world], **metrics}
        logger.add({f"episode/{name}": float(value) for name, value in whole.items()})
    now.reported = list(scores.reported)
    now.episodes = now.episodes + last


def score(evaluate: Evaluate, now: Progress, logger: Logger, stop: Stop) -> None:
    """Evaluate between two rows. A request to stop cancels the evaluation; a resumed run repeats it."""
    generators = rng_state()

    def scored() -> tuple[dict[str, float], int]:
        with stop.at_once():
            now.scores = {name: float(value) for name, value in evaluate().items()}
            now.evaluated = now.step
            logger.record(now.step, {f"eval/{name}": value for name, value in now.scores.items()})
        return now.scores, now.evaluated

    now.scores, now.evaluated = distributed.by_leader(scored)
    set_rng_state(generators)


def where(env: VectorEnvironment, now: Progress, world: int) -> str:
    """Describe the environment, seed, episode and step of an error."""
    return f"{env_id(env)}, world {world}, seed {seed_in_words(now, world)}, step {now.length[world]}"


def seed_in_words(now: Progress, world: int) -> str:
    """Return the seed that an environment started with, and how many episodes it has finished since."""
    return f"{now.seed + world}" + (f", episode {now.episodes[world]} after it" if now.episodes[world] else "")


def _due(every: int, since: int, step: int, at_any_rate: bool) -> bool:
    """Return whether a multiple of `every` lies in (since, step], or there was a step and it is due in any case."""
    return step > since and (at_any_rate or (every > 0 and step // every > since // every))
