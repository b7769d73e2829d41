"""Environments: homes (Habitat), roads (nuPlan-style), grids (MiniGrid), small control tasks and egocentric video.

This module defines the contracts of the folder. `envs` imports no other folder of this project, and no torch on import.
Its interfaces exchange dicts of arrays, `gymnasium.Space`s and images.

    import gymnasium as gym
    env = gym.make("embodia:embodia/MiniGrid-Empty-8x8-v0")             # one environment
    envs = gym.make_vec("embodia:embodia/PointNav-v0", num_envs=16)     # N environments, stepped as arrays
"""

import hashlib
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Observation = dict[str, NDArray[Any]]
"""Observations by key: images uint8 (H, W, 3), depth float32 (H, W, 1), tokens int64 (L,).

Keys use the field's own terms.
"""

Info = dict[str, Any]
"""Privileged labels.

After a reset, `info["level"]: str` is the level's name: levels of the same name are the same, whatever their seeds. On
an episode's last step, `info["metrics"]: dict[str, float]` has the protocol's scores. A single environment may also
report the scores so far on earlier steps.
"""

Better = Literal["higher", "lower"]
"""Whether higher or lower values of a score are better."""


class Score(TypedDict, total=False):
    """What an environment says about a score; only `better` is required."""

    better: Better
    label: str
    """Its name in prose, for reports and videos: "distance to goal"."""
    unit: str
    """Its unit: "m"."""


Scores = dict[str, Better | Score]
"""`metadata["scores"]`: the name of every score in `info["metrics"]`, and whether higher or lower is better, or a dict
that adds a label and a unit: `{"success": "higher", "distance": {"better": "lower", "unit": "m"}}`.

The first one heads reports and selects checkpoints. `return`, the undiscounted sum of rewards, is available for every
environment; an environment without scores is evaluated by its return.
"""

State = dict[str, Any]
"""An exact snapshot: nested dicts, lists and tuples of arrays, numbers, strings, bytes and None."""

Split = Literal["train", "test"]
"""Set of levels from which `reset` samples. The two sets are disjoint: see `level_seed`."""

SPLIT_SIZE = 2**30
"""Number of level seeds per split."""


def level_seed(split: Split, seed: int) -> int:
    """Return the generator seed of level `seed` of a split. Seeds of train and test are disjoint.

    Args:
        split: "train" or "test".
        seed: Level number, taken modulo SPLIT_SIZE.
    """
    return int(seed) % SPLIT_SIZE + (SPLIT_SIZE if split == "test" else 0)


def content_digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits of arrays, numbers and strings, to name a level after its content."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            found.update(repr(part).encode() + b";")
    return found.hexdigest()[:16]


@runtime_checkable
class Environment(Protocol):
    """A `gymnasium.Env` whose docstring specifies task, actions, observations, reward, termination and scores.

    `terminated` means that the task ended, `truncated` that the time limit was reached. `metadata` has `scores` (see
    `Scores`) and, for discrete actions, `action_names`, a tuple with the name of each action.

    Two members are optional. `metrics()` returns the scores of the episode so far; it is called if a wrapper ends the
    episode (`gymnasium.make(id, max_episode_steps=5)`). `Options`, for the command line, is a frozen dataclass of
    constructor options: every field is a flag, `--env.options.FIELD`, and a keyword argument; None omits the argument.
    """

    metadata: dict[str, Any]
    spec: Any
    """The `gymnasium` registration; its `id` identifies the environment in messages and reports."""
    render_mode: str | None
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start an episode.

        Args:
            seed: Level of the split; it determines the episode completely. None samples a level with the
                environment's own generator.
            options: Options of the environment; most have none.

        Returns:
            The first observation, and info with `level`.
        """

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Run one step.

        Args:
            action: Element of `action_space`.

        Returns:
            Observation, reward, terminated, truncated and info. On the last step info has `metrics`.
        """

    def expert_action(self) -> Any:
        """Return the privileged expert's action in the current state.

        Raises:
            NoExpert: If the task has no expert.
        """

    def get_state(self) -> State:
        """Return an exact snapshot, with random generators, for exact resume and for search in the true environment."""

    def set_state(self, state: State) -> Observation:
        """Restore a snapshot and return its observation.

        Args:
            state: Snapshot of an environment with the same id and options.
        """

    def render(self) -> NDArray[np.uint8]:
        """Return an image (H, W, 3) of the agent's view next to the map."""

    def close(self) -> None:
        """Free all resources."""


@runtime_checkable
class VectorEnvironment(Protocol):
    """A `gymnasium.vector.VectorEnv` of `num_envs` environments; the single environment is its view with num_envs = 1.

    Autoreset is next-step, as declared in `metadata["autoreset_mode"]`: after an episode's last step, the next `step`
    ignores that environment's action and returns the new episode's first observation with reward 0. Infos follow
    Gymnasium's layout: `infos["metrics"][name]` is (N,), and `infos["_metrics"]` is the (N,) mask of the environments
    that have it. `metadata` has the same `scores` and `action_names` as for one environment.
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
        """Start an episode in every environment.

        Args:
            seed: One seed per environment; an integer s means s, s + 1, ...; None samples levels.
            options: `{"reset_mask": (N,) bool}` resets only these environments and leaves the others unchanged.

        Returns:
            Observations, each key (N, ...), and infos.
        """

    def step(self, actions: Any) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Run one step of every environment.

        Args:
            actions: Actions (N, ...).

        Returns:
            Observations (N, ...), rewards (N,), terminated (N,), truncated (N,) and infos.
        """

    def expert_action(self) -> NDArray[Any]:
        """Return the experts' actions (N, ...). Raises NoExpert if the task has none."""

    def get_state(self) -> State:
        """Return an exact snapshot of all environments."""

    def set_state(self, state: State) -> Observation:
        """Restore a snapshot and return its observations (N, ...)."""

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Return one image (H, W, 3) per environment."""

    def close(self) -> None:
        """Free all resources."""


class NoExpert(NotImplementedError):
    """The task has no privileged expert. The message names the task and an alternative."""


__all__ = [
    "SPLIT_SIZE",
    "Better",
    "Environment",
    "Info",
    "NoExpert",
    "Observation",
    "Score",
    "Scores",
    "Split",
    "State",
    "VectorEnvironment",
    "content_digest",
    "level_seed",
]
