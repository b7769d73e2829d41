"""Embodied agents in homes, on roads and on grids: train, evaluate, record.

    import embodia

    env = embodia.make("MiniGrid-Empty-8x8-v0")      # a gymnasium.Env; with num_envs=4 a VectorEnv of four of them
    agent = embodia.load("runs/demo")                # a run of `embodia train` or `embodia demo`
    obs, info = env.reset(seed=0)
    action, memory = agent.predict(obs)              # then agent.predict(obs, memory)
    print(embodia.evaluate(agent, episodes=100))     # scores with confidence intervals, on held-out levels
    embodia.record(agent, seeds=(0, 1), out="films") # videos (.mp4)

`import embodia` registers the environments with Gymnasium (`gymnasium.make("embodia/PointNav-v0")`). It does not
import torch.
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
    """Make a registered environment, or a vector environment of `num_envs` of them.

    Args:
        env_id: registered id, with or without `embodia/`; `module:Id-v0` imports the module first.
        num_envs: None returns a `gymnasium.Env`; a number returns a `gymnasium.vector.VectorEnv`.
        options: keyword arguments of the environment, as documented in its docstring.

    Raises:
        Mistake: if the id is not registered; the message suggests the closest one.
    """
    import gymnasium as gym

    from embodia.envs import vector
    from embodia.scripts.assembly.env_ids import known_id

    name = known_id(env_id)
    return gym.make(name, **options) if num_envs is None else vector.make(name, num_envs, **options)


def load(
    run: str | Path,
    checkpoint: str = "best",
    device: str | None = None,
    named: Mapping[str, str] | None = None,
) -> "Agent":
    """Load the trained agent of a run.

    Args:
        run: run folder, name of a run under `runs`, name of a preset (loads its newest run), or hf://user/name, a run
            that `embodia share` uploaded to the Hugging Face hub.
        checkpoint: `best`, `last`, or a step.
        device: `cpu`, `cuda` or `auto`; by default the device the run was trained with.
        named: your own classes that the run uses, by flag: `{"agent": "habit:Habit", "wrap": "shaped:Shaped"}`.
            Loading a run never imports code that is not named here.

    Raises:
        Mistake: if there is no such run or checkpoint, or if the run uses a class that `named` lacks.
        CheckpointError: if the checkpoint is damaged or does not fit.
    """
    from embodia.scripts.assembly import build, runs

    folder = runs.find(str(run), Path("runs"))
    config = runs.config(folder, named)
    if device is not None and hasattr(config.agent, "device"):
        config = replace(config, agent=replace(config.agent, device=device))
    return build.loaded(config, runs.trained(folder, checkpoint))


def evaluate(
    agent: "Agent | str | Path",
    env: "gym.Env[Any, Any] | gym.vector.VectorEnv | None" = None,
    episodes: int = 100,
    seeds: Sequence[int] | None = None,
    split: Literal["train", "test"] = "test",
) -> "Evaluation":
    """Evaluate an agent, one episode per seed, and return its scores with 95 % confidence intervals.

    Args:
        agent: any `Agent`, or a run to load one from.
        env: environment; by default the one a loaded agent was trained in, with the levels of `split`.
        episodes: number of episodes; their seeds are 0, 1, ...
        seeds: seeds of the episodes; overrides `episodes`.
        split: `test` for held-out levels, `train` for training levels; unused if `env` is given.

    Raises:
        Mistake: if `env` is None and the agent was not loaded from a run.
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
    """Record videos (.mp4) of a loaded agent in the environment it was trained in.

    Args:
        agent: an agent that was loaded from a run, or the run.
        seeds: seeds of the episodes; one video each.
        out: folder of the videos.
        split: `test` for held-out levels, `train` for training levels.

    Returns:
        Paths of the videos.

    Raises:
        Mistake: if the agent was not loaded from a run, or if the environment cannot be rendered.
    """
    from embodia.scripts.report import interface

    player = load(agent) if isinstance(agent, str | Path) else agent
    return interface.filmed(player, list(seeds), split, Path(out))


def __getattr__(name: str) -> Any:
    if name == "__version__":  # read on access only: reading metadata is slower than all of the above
        from importlib.metadata import version

        return version("embodia")
    raise AttributeError(f"module 'embodia' has no attribute {name!r}")


__all__ = ["evaluate", "load", "make", "record"]
