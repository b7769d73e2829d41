"""Evaluation of an agent, one episode per seed. Training, evaluation and recording all use this function."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodia.agents import Agent, Array, Mode, Row, VectorEnvironment
from embodia.agents.training.rows import NonFinite, check_finite
from embodia.agents.training.scores import EpisodeScores, env_id
from embodia.planners.trees import index, object_array, tree_map


@dataclass(frozen=True)
class Episode:
    """The result of one evaluated episode."""

    seed: int
    length: int
    """Number of executed actions."""
    return_: float
    """Undiscounted sum of rewards."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The task's scores, from `info["metrics"]` of the last step."""
    seconds: float = 0.0
    """Wall time from reset to end [s], while other environments run in parallel."""
    level: str = ""
    """Name of the level, from `info["level"]` of the reset; empty if the environment gives none."""


class Watch(Protocol):
    """A callback that is called on every row of every evaluated episode, in the order of time.

    `row` and `info` are those of one environment, without the batch axis. The action of the last row is zero and has
    no meaning. `frame()` renders the environment, (H, W, 3) uint8; nothing is rendered unless it is called.
    """

    def __call__(
        self, world: int, seed: int, row: Row, info: dict[str, Any], frame: Callable[[], NDArray[np.uint8]]
    ) -> None: ...


@dataclass
class _Run:
    """A running episode in one environment."""

    number: int
    seed: int
    began: float = 0.0
    length: int = 0
    return_: float = 0.0
    level: str = ""


def evaluate(agent: Agent, env: VectorEnvironment, seeds: Sequence[int], watch: Watch | None = None) -> list[Episode]:
    """Evaluate an agent on one episode per seed.

    The episodes run in parallel in the environments of `env`; one whose episode ends starts the next seed. For an
    agent that is deterministic in mode "eval", the results do not depend on the number of environments.

    Args:
        agent: any `Agent`; it acts in mode "eval" and is not trained.
        env: a `VectorEnvironment`; its current episodes are abandoned.
        seeds: seed of each episode.
        watch: called on every row, to record or to collect.

    Returns:
        One `Episode` per seed, in the order of `seeds`.

    Raises:
        NonFinite: if an observation or reward is NaN; the message names the environment, seed and step.
        ScoreError: if a score is not a finite number; the message names the environment, seed and score.
    """
    if not seeds:
        return []
    n = env.num_envs
    waiting = [_Run(number, int(seed)) for number, seed in enumerate(seeds)][::-1]
    runs = [_next(waiting) for _ in range(n)]  # of each environment; None: idle, its steps are ignored
    episodes: dict[int, Episode] = {}
    scores = EpisodeScores(env)

    obs, info = with_mask(*env.reset(seed=[run.seed if run else int(seeds[0]) for run in runs]))
    _name_levels(runs, info)
    infos = [world_info(info, world) for world in range(n)] if watch else []
    seen = {key: np.zeros(n, bool) for key in ("first", "last", "terminal")}
    seen |= {"reward": np.zeros(n, np.float32), "first": np.ones(n, bool)}
    carry = agent.initial(n)
    while any(runs):
        action, carry, extras = ask(agent, env, obs, carry, seen["first"], "eval")
        if watch:
            _show(watch, env, runs, make_row(obs, seen, action, extras), infos)
        obs, reward, terminated, truncated, info = env.step(action)
        obs, info = with_mask(obs, info)
        _count(runs, reward)
        check_finite(obs, reward, lambda world: _where(env, runs[world]))
        seen = after_step(seen, reward, terminated, truncated)
        infos = [world_info(info, world) for world in range(n)] if watch else []
        if not seen["last"].any():
            continue
        ended = [run if over else None for run, over in zip(runs, seen["last"])]
        if watch:
            closing = make_row(obs, seen, np.zeros_like(action), tree_map(np.zeros_like, extras))
            _show(watch, env, ended, closing, infos)
        renewed = np.zeros(n, bool)
        for world, run in enumerate(ended):
            if run is not None:
                metrics = scores.read(world_info(info, world).get("metrics", {}), run.seed)
                seconds = time.perf_counter() - run.began
                episodes[run.number] = Episode(run.seed, run.length, run.return_, metrics, seconds, run.level)
                runs[world] = _next(waiting)
                renewed[world] = runs[world] is not None
        if renewed.any():
            fresh = [run.seed if run and new else None for run, new in zip(runs, renewed)]
            obs, info = with_mask(*env.reset(seed=fresh, options={"reset_mask": renewed}), obs, renewed)
            _name_levels([run if new else None for run, new in zip(runs, renewed)], info)
            seen = {**{key: np.where(renewed, 0, value).astype(value.dtype) for key, value in seen.items()},
                    "first": seen["first"] | renewed}  # fmt: skip
            infos = [world_info(info, world) if renewed[world] else infos[world] for world in range(len(infos))]
    return [episodes[number] for number in range(len(seeds))]


def ask(
    agent: Agent, env: VectorEnvironment, obs: Mapping[str, Array], carry: Any, first: Array, mode: Mode
) -> tuple[Array, Any, dict[str, Array]]:
    """Call `agent.act`, with the expert's action and the environments' snapshots if the agent needs them.

    Returns:
        Action, carry and extras as `act`, with `expert_action` added to the extras if the agent needs it.

    Raises:
        NonFinite: if an action is NaN or infinite.
    """
    expert = {"expert_action": env.expert_action()} if mode in agent.needs_expert else {}
    truth = {"snapshot": snapshots(env)} if agent.needs_snapshot else {}
    action, carry, extras = agent.act({**obs, **expert, **truth}, carry, first, mode)
    if action.dtype.kind == "f" and not np.isfinite(action).all():
        raise NonFinite(f"{type(agent).__name__} chose action {action.tolist()}; its weights or inputs have diverged")
    return action, carry, {**extras, **expert}


def with_mask(
    obs: Mapping[str, Array],
    info: dict[str, Any],
    before: Mapping[str, Array] | None = None,
    renewed: Array | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Add `info["action_mask"]` to the observations, if the environment gives one.

    After a reset of the environments `renewed` (n,), the others keep their mask, which is in the observations `before`.
    """
    if "action_mask" not in info:
        return dict(obs), info
    mask = np.stack(list(info["action_mask"])) if info["action_mask"].dtype == object else info["action_mask"]
    if before is not None and renewed is not None:
        mask = np.where(renewed[:, None], mask, before["action_mask"])
    return {**obs, "action_mask": mask}, info


def snapshots(env: VectorEnvironment) -> Array:
    """Return each environment's snapshot, (n,) objects, None after the end of an episode.

    Raises:
        TypeError: if the vector environment has only one snapshot for all its environments.
    """
    if not hasattr(env, "snapshots"):
        raise TypeError(
            f"{env_id(env)} has one snapshot for all its environments; to plan in the simulator itself, set "
            "env.vectorization to sync"
        )
    return object_array(env.snapshots())


def after_step(seen: Mapping[str, Array], reward: Array, terminated: Array, truncated: Array) -> dict[str, Array]:
    """Return reward and flags of the rows after a step; environments whose previous row was last have restarted."""
    last = np.asarray(terminated | truncated)
    return {"reward": np.asarray(reward, np.float32), "first": seen["last"], "last": last,
            "terminal": np.asarray(terminated)}  # fmt: skip


def make_row(obs: Any, seen: Mapping[str, Array], action: Array, extras: dict[str, Array]) -> Row:
    """Make a row of n environments from observations, reward and flags (`seen`), actions and extras."""
    return Row(
        obs={key: value for key, value in obs.items() if key != "action_mask"},  # the agent may keep it in its extras
        reward=seen["reward"],
        first=seen["first"],
        last=seen["last"],
        terminal=seen["terminal"],
        action=action,
        extras=extras,
    )


def world_info(infos: Mapping[str, Any], world: int) -> dict[str, Any]:
    """Extract one environment's info from Gymnasium's vector layout (values with `_key` masks; nested dicts may lack
    the masks)."""
    return _of_world(infos, world, masked=True)


def level_name(infos: Mapping[str, Any], world: int) -> str:
    """Return the name of an environment's level after its reset; empty if the environment gives none."""
    mask = infos.get("_level")
    return str(infos["level"][world]) if "level" in infos and (mask is None or mask[world]) else ""


def _of_world(infos: Mapping[str, Any], world: int, masked: bool) -> dict[str, Any]:
    info = {}
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        is_mask = key.startswith("_") and key[1:] in infos
        if not is_mask and (mask[world] if mask is not None else not masked):
            info[key] = _of_world(value, world, masked=False) if isinstance(value, Mapping) else value[world]
    return info


def _show(
    watch: Watch, env: VectorEnvironment, runs: Sequence[_Run | None], row: Row, infos: Sequence[dict[str, Any]]
) -> None:
    """Pass the row of each running episode to `watch`; rendering happens at most once, and only on request."""
    frames: list[Any] = []

    def frame(world: int) -> Any:
        if not frames:
            frames.extend(env.render())
        return frames[world]

    for world, run in enumerate(runs):
        if run is not None:
            watch(world, run.seed, index(row, world), infos[world], partial(frame, world))


def _next(waiting: list[_Run]) -> _Run | None:
    run = waiting.pop() if waiting else None
    if run is not None:
        run.began = time.perf_counter()
    return run


def _count(runs: Sequence[_Run | None], reward: Array) -> None:
    for run, gain in zip(runs, reward):
        if run is not None:
            run.length, run.return_ = run.length + 1, run.return_ + float(gain)


def _name_levels(runs: Sequence[_Run | None], info: Mapping[str, Any]) -> None:
    for world, run in enumerate(runs):
        if run is not None:
            run.level = level_name(info, world)


def _where(env: VectorEnvironment, run: _Run | None) -> str:
    return f"{env_id(env)}, " + (f"seed {run.seed}, step {run.length}" if run else "an idle environment")
