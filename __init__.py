"""Embodied agents in homes, on roads and on grids: train, evaluate, record.

    import embodia

    env = embodia.make("MiniGrid-Empty-8x8-v0")      # a gymnasium.Env; with num_envs=4 a VectorEnv of four worlds
    agent = embodia.load("runs/demo")                # what `embodia train` or `embodia demo` left
    obs, info = env.reset(seed=0)
    action, memory = agent.predict(obs)              # then agent.predict(obs, memory)
    print(embodia.evaluate(agent, episodes=100))     # scores with intervals, on levels never trained on
    embodia.record(agent, seeds=(0, 1), out="films")

`import embodia` registers the environments with Gymnasium (`gymnasium.make("embodia/PointNav-v0")`) and imports
nothing else that is heavy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from embodia.envs.control.ids import register_control
from embodia.envs.driving.ids import register_roads
from embodia.envs.grid.ids import register_grid
from embodia.envs.homes.ids import register_homes

if TYPE_CHECKING:
    import gymnasium as gym

    from embodia.agents import Agent
    from embodia.scripts.report.interface import Evaluation

register_control()
register_grid()
register_roads()
register_homes()


def make(env_id: str, num_envs: int | None = None, **options: Any) -> "gym.Env[Any, Any] | gym.vector.VectorEnv":
    """One world of a registered id, or `num_envs` of them side by side.

    Args:
        env_id: with or without `embodia/`; `module:Id-v0` imports the module first.
        num_envs: None for one `gymnasium.Env`; a number for a `gymnasium.vector.VectorEnv`.
        options: what the environment lets one choose; its docstring names them.

    Raises:
        Mistake: for an id that is not registered; the message names the nearest.
    """
    import gymnasium as gym

    from embodia.envs import vector
    from embodia.scripts.assembly.environments import known_id

    name = known_id(env_id)
    return gym.make(name, **options) if num_envs is None else vector.make(name, num_envs, **options)


def load(
    run: str | Path,
    checkpoint: str = "best",
    device: str | None = None,
    named: Mapping[str, str] | None = None,
) -> "Agent":
    """The trained agent of a run.

    Args:
        run: its folder, its name under `runs`, or the preset it was trained from (its newest run).
        checkpoint: `best`, `last`, or a step.
        device: `cpu`, `cuda` or `auto`; by default as the run was trained.
        named: the run's classes that are your own, by the flags that name them: `{"agent": "habit:Habit"}`. A run never
            imports code by itself.

    Raises:
        Mistake: where there is no such run or checkpoint, or a class of your own is not named.
        CheckpointError: where the checkpoint is damaged or does not fit.
    """
    from embodia.scripts.assembly import build, runs

    folder = runs.find(str(run), Path("runs"))
    config = runs.config(folder, named)
    if device is not None and hasattr(config.agent, "device"):
        config = replace(config, agent=replace(config.agent, device=device))
    return build.loaded(config, runs.weights(folder, checkpoint))


def evaluate(
    agent: "Agent | str | Path",
    env: "gym.Env[Any, Any] | gym.vector.VectorEnv | None" = None,
    episodes: int = 100,
    seeds: Sequence[int] | None = None,
    split: Literal["train", "test"] = "test",
) -> "Evaluation":
    """Scores of an agent with 95 % confidence intervals, one fresh episode per seed.

    Args:
        agent: any `Agent`, or a run to load one from.
        env: where; by default the environment that a loaded agent was trained in, on levels of `split`.
        episodes: seeds 0, 1, ...; `seeds` names others.

    Raises:
        Mistake: for an agent that was not loaded from a run and no `env`.
    """
    from embodia.scripts.report import interface

    player = load(agent) if isinstance(agent, str | Path) else agent
    return interface.evaluated(player, env, range(episodes) if seeds is None else seeds, split)


def record(
    agent: "Agent | str | Path",
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path = "films",
    split: Literal["train", "test"] = "test",
) -> list[Path]:
    """Films (.mp4) of a loaded agent, one a seed, in the environment it was trained in.

    Raises:
        Mistake: for an agent that was not loaded from a run, and where the environment draws nothing.
    """
    from embodia.scripts.report import interface

    player = load(agent) if isinstance(agent, str | Path) else agent
    return interface.filmed(player, list(seeds), split, Path(out))


def __getattr__(name: str) -> Any:
    if name == "__version__":  # read when asked for: metadata costs more than all of the above
        from importlib.metadata import version

        return version("embodia")
    raise AttributeError(f"module 'embodia' has no attribute {name!r}")


__all__ = ["evaluate", "load", "make", "record"]
