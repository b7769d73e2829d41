"""Where it happens: homes (Habitat), roads (nuPlan-style), grids (MiniGrid), small worlds of papers, egocentric video.

The promise of this folder, for whoever writes or uses an environment. `envs` imports no other folder of this project
and no torch on import; what crosses its border is a dict of arrays, a `gymnasium.Space`, or an image.

    import gymnasium as gym
    env = gym.make("embodia:embodia/MiniGrid-Empty-8x8-v0")             # one world
    envs = gym.make_vec("embodia:embodia/PointNav-v0", num_envs=16)     # N worlds, stepped on arrays
"""

import hashlib
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Observation = dict[str, NDArray[Any]]
"""Keys named by meaning in the field's own terms; images are uint8 (H, W, 3), depth float32 (H, W, 1),
tokens int64 (L,)."""

Info = dict[str, Any]
"""Privileged labels. A reset gives `info["level"]: str`, the level's name: equal names are equal levels, whatever the
seed. An episode's last step gives `info["metrics"]: dict[str, float]`, the protocol's scores; a single environment may
give the scores so far on earlier steps too."""

Better = Literal["higher", "lower"]
Scores = dict[str, Better]
"""`metadata["scores"]`: every score of `info["metrics"]` (and `return`, the undiscounted sum of rewards, which every
episode has) by name, and which way is better. The first heads reports and decides between checkpoints. An environment
that declares none is judged by its return."""

State = dict[str, Any]
"""An exact snapshot: nested dicts, lists and tuples of arrays, numbers, strings, bytes and None; nothing else."""

Split = Literal["train", "test"]
"""Which levels `reset` draws from. The two never share a level: see `level_seed`."""

SPLIT_SIZE = 2**30


def level_seed(split: Split, seed: int) -> int:
    """The generator seed of level `seed` of a split; train and test are disjoint by construction."""
    return int(seed) % SPLIT_SIZE + (SPLIT_SIZE if split == "test" else 0)


def content_digest(*parts: Any) -> str:
    """16 hexadecimal digits of arrays, numbers, strings and lists of them: how `info["level"]` names what a level
    consists of."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            found.update(repr(part).encode() + b";")
    return found.hexdigest()[:16]


@runtime_checkable
class Environment(Protocol):
    """A `gymnasium.Env` whose docstring is its spec sheet (task, actions, reward formula, termination, scores).

    `terminated` means the task ended, `truncated` that time ran out. `reset(seed=s)` fixes the episode completely;
    `reset()` draws the next level of the split from the environment's own generator. `metadata` holds `scores`
    (`Scores`), and where actions are discrete `action_names`, a tuple of what each is called.

    It may have two things more. `metrics()` gives the scores of the episode so far: it is asked where a wrapper ends
    the episode (`gymnasium.make(id, max_episode_steps=5)`). `Options`, a frozen dataclass of what the constructor lets
    one choose, is for the command line: every field is a flag, `--env.options.FIELD`, and a keyword argument; None
    leaves the argument out.
    """

    metadata: dict[str, Any]
    spec: Any
    """The `gymnasium` registration; its `id` names the world in messages and reports."""
    render_mode: str | None
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]: ...

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]: ...

    def expert_action(self) -> Any:
        """The privileged expert's action in the present state. Raises NoExpert where the task has none."""

    def get_state(self) -> State:
        """An exact snapshot, generators included: exact resume, search over the true model, stepping back in time."""

    def set_state(self, state: State) -> Observation:
        """Return to a snapshot taken from an environment of the same id and options; gives its observation back."""

    def render(self) -> NDArray[np.uint8]:
        """What the agent sees beside the map, (H, W, 3)."""

    def close(self) -> None: ...


@runtime_checkable
class VectorEnvironment(Protocol):
    """A `gymnasium.vector.VectorEnv` of `num_envs` worlds; the single environment is its view for num_envs = 1.

    Next-step autoreset, declared in `metadata["autoreset_mode"]`: after a last step the next `step` ignores that
    world's action and gives the new episode's first observation with reward 0. Infos follow Gymnasium's layout:
    `infos["metrics"][name]` is (N,) and `infos["_metrics"]` the (N,) mask of the worlds that have it. Its `metadata`
    holds the `scores` and `action_names` of its worlds.
    """

    metadata: dict[str, Any]
    spec: Any
    render_mode: str | None
    num_envs: int
    single_observation_space: spaces.Dict
    single_action_space: spaces.Space[Any]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """`options={"reset_mask": (N,) bool}` restarts only those worlds, with their seeds, and leaves the rest."""

    def step(self, actions: Any) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Info]: ...

    def expert_action(self) -> NDArray[Any]:
        """(N, ...) expert actions."""

    def get_state(self) -> State: ...

    def set_state(self, state: State) -> Observation: ...

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """One (H, W, 3) frame per world."""

    def close(self) -> None: ...


class NoExpert(NotImplementedError):
    """The task has no privileged expert; the message names it and what to use instead."""


__all__ = [
    "SPLIT_SIZE",
    "Better",
    "Environment",
    "Info",
    "NoExpert",
    "Observation",
    "Scores",
    "Split",
    "State",
    "VectorEnvironment",
    "content_digest",
    "level_seed",
]
