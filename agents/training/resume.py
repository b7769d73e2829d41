"""Exact resume: save and restore everything that the next row of training depends on."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodia.agents import Agent, Array, Buffer, Carry, VectorEnvironment
from embodia.agents.training import checkpoint, distributed
from embodia.agents.training.levels import as_array, begun
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import rng_state, set_rng_state, set_threads
from embodia.agents.training.scores import deciding, declared_scores


@dataclass
class Progress:
    """State of training between two rows, besides agent, buffer and environments."""

    obs: dict[str, Array]
    seen: dict[str, Array]  # reward, first, last, terminal of the next row, each (n,)
    carry: Carry
    seed: int  # environment i began with level seed + i
    length: Array  # (n,) steps of the current episodes so far
    return_: Array  # (n,) return of the current episodes so far
    episodes: Array  # (n,) number of finished episodes
    step: int = 0  # executed actions, over all environments
    logged: int = 0  # step of the last line in metrics.jsonl
    evaluated: int = 0
    saved: int = 0
    scores: dict[str, float] = field(default_factory=dict)  # of the last evaluation
    reported: list[str] = field(default_factory=list)  # names of the scores of finished episodes
    levels: set[int] = field(default_factory=set)  # digests of the levels used; empty if they have no names

    def state_dict(self) -> dict[str, Any]:
        """Return all fields as values that a checkpoint can hold."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)} | {"levels": as_array(self.levels)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        return cls(**{**state, "levels": set(np.asarray(state.get("levels", ())).tolist())})


def save_training(
    folder: Path,
    agent: Agent,
    env: VectorEnvironment,
    buffer: Buffer,
    logger: Logger,
    now: Progress,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint from which training continues bit for bit; the leading process writes it for all.

    Raises:
        CheckpointError: if it cannot be written.
    """
    training = {
        "agent": agent.training_state(),
        "buffer": buffer.state_dict(),
        "logger": logger.state_dict(),
        "threads": torch.get_num_threads(),
    }
    own = {"worlds": snapshot(env), "rng": rng_state(), "progress": now.state_dict()}
    if not (states := distributed.gathered_states(own)):
        return
    number = distributed.processes()
    training |= own if number == 1 else {"processes": states}
    shared = {"num_envs": env.num_envs * number, **({"processes": number} if number > 1 else {})}
    meta = {**judgement(env, now), "scores": now.scores, **shared, "config": dict(config or {})}
    checkpoint.save(folder, now.step, agent, training, meta)


def judgement(env: Any, now: Progress) -> dict[str, Any]:
    """Return the entries of meta.json that `checkpoint.best` reads: the score, its name, and which way is better."""
    declared = declared_scores(env)
    name = deciding(declared, now.scores) if now.evaluated == now.step else None
    if name is None:
        return {"score": None}
    return {"score": now.scores[name], "decides": name, "better": declared[name]}


def snapshot(env: VectorEnvironment) -> dict[str, Any] | None:
    """Return the environments' state; None, with a warning, if they have no `get_state`."""
    try:
        return env.get_state()
    except (AttributeError, NotImplementedError) as error:
        warnings.warn(f"no get_state ({error}): a resumed run will start new episodes", stacklevel=2)
        return None


def resume_training(
    folder: Path, agent: Agent, env: VectorEnvironment, buffer: Buffer, logger: Logger
) -> Progress | None:
    """Load the newest intact checkpoint of `folder` into new objects; return None if there is no checkpoint.

    Raises:
        CheckpointError: if no checkpoint is intact, or the newest intact one does not fit.
    """
    if not checkpoint.list_steps(folder):
        return None
    path = checkpoint.latest(folder)
    if path is None:
        raise checkpoint.CheckpointError(f"{folder}: no checkpoint here is intact; start a new run")
    found = checkpoint.load(path)
    checkpoint.check_fits(found, agent)
    if (saved := found.meta.get("processes", 1)) != distributed.processes():
        how = f"torchrun --nproc-per-node {saved}" if saved > 1 else "one process"
        raise checkpoint.CheckpointError(f"{path}/meta.json: the environments were shared by {saved} processes; resume "
                                         f"with {how}")  # fmt: skip
    if (saved := found.meta.get("num_envs")) != env.num_envs * distributed.processes():
        raise checkpoint.CheckpointError(f"{path}/meta.json: num_envs was {saved}; resume with {saved} environments")
    training = found.training()
    own = training["processes"][distributed.rank()] if "processes" in training else training
    agent.load(path)
    agent.set_training_state(training["agent"])
    buffer.load_state_dict(training["buffer"])
    logger.load_state_dict(training["logger"])
    now = Progress.from_state(own["progress"])
    now.carry = _placed(now.carry, agent.initial(env.num_envs))
    now.saved = now.step
    if own["worlds"] is None:
        _restart(now, env)
    else:
        env.set_state(own["worlds"])
    set_rng_state(own["rng"])
    set_threads(training.get("threads"))
    return now


def _placed(saved: Any, fresh: Any) -> Any:
    """Move a saved carry to the device of the agent's initial carry; entries that it lacks are not moved."""
    if isinstance(saved, dict):
        return {key: _placed(value, fresh[key]) if key in fresh else value for key, value in saved.items()}
    return saved.to(fresh.device) if hasattr(fresh, "device") and hasattr(saved, "to") else saved


def _restart(now: Progress, env: VectorEnvironment) -> None:
    """Start new episodes in environments without snapshots, on other levels than the first ones."""
    n = env.num_envs
    now.obs, info = env.reset(seed=[now.seed + now.step + world for world in range(n)])
    now.levels |= begun(info, range(n))
    now.seen = {key: np.zeros_like(value) for key, value in now.seen.items()} | {"first": np.ones(n, bool)}
    now.length, now.return_ = np.zeros(n, np.int64), np.zeros(n)
