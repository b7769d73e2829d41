"""Who decides: learning rules, buffers, the loop that trains, the function that evaluates, continual learning.

The promise of this folder. It imports `perception` and `planners` and *receives* environments. One row of experience
is one world at one time: what was seen, then what was done.

    row t:  obs_t, reward_t, first_t, last_t, terminal_t   then   action_t, extras_t

`reward_t` came with `obs_t`; `first_t` opens an episode (its reward is 0); `last_t` closes it and its action is never
carried out; `terminal_t` says the task itself ended there, so nothing is bootstrapped from it. Next-step autoreset
yields exactly these rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]
Carry = dict[str, Any]
"""An agent's memory: a nested dict of tensors, each (n, ...). Handed in, taken back, never kept."""
Batch = Any
"""What a buffer yields to the agent it belongs to; usually a dict of tensors (T, B, ...) or (B, ...)."""
Numbers = dict[str, Any]
"""What to log, by name: floats, or scalar tensors without a gradient, which stay on their device until they are
written."""
Mode = Literal["train", "eval"]


class VectorEnvironment(Protocol):
    """What an agent is handed to live in: n worlds side by side, as `embodia.envs.VectorEnvironment` promises them.

    Next-step autoreset: after a last step the next `step` ignores that world's action and gives the new episode's first
    observation with reward 0. Where worlds are stepped one by one, `snapshots()` may give a snapshot of each.
    """

    num_envs: int

    def reset(
        self, *, seed: list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """`options={"reset_mask": (n,) bool}` restarts only those worlds."""

    def step(self, actions: Array) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]: ...

    def expert_action(self) -> Array:
        """(n, ...), where an agent asks for it (`needs_expert`)."""

    def get_state(self) -> dict[str, Any]:
        """An exact snapshot of all worlds, for exact resume."""

    def set_state(self, state: Any) -> Any: ...

    def render(self) -> Sequence[Any]:
        """One (H, W, 3) frame per world."""


class Row(TypedDict):
    """n worlds at one time; on disk and in buffers the same keys gain leading axes."""

    obs: dict[str, Array]  # each (n, ...)
    reward: Array  # (n,) float32
    first: Array  # (n,) bool
    last: Array  # (n,) bool
    terminal: Array  # (n,) bool
    action: Array  # (n, ...) as the action space says
    extras: dict[str, Array]  # each (n, ...): what `act` wants remembered, `expert_action` where the agent asks for it


class Buffer(Protocol):
    """Keeps rows and says when there is something to learn from."""

    def add(self, row: Row) -> None: ...

    def batches(self) -> Iterator[Batch]:
        """The batches due now, after the row just added; often none. The loop calls `agent.update` on each."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Agent(ABC):
    """Decides, and learns from rows. It keeps weights and optimizers; memory of an episode travels in the carry."""

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    needs_expert: tuple[Mode, ...] = ()
    """In these modes `act` is handed the environment's `expert_action` as `obs["expert_action"]`; extras keep it."""

    needs_snapshot: bool = False
    """Whether `act` is handed the worlds' own snapshots, an array of objects (n,), None where an episode is over, as
    `obs["snapshot"]`: to plan in the truth."""

    def initial(self, n: int) -> Carry:
        """Memory of n worlds that have seen nothing; {} for an agent without memory."""
        return {}

    @abstractmethod
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """obs (n, ...), first (n,) bool: where set, forget -> (action (n, ...), carry, extras each (n, ...))."""

    @abstractmethod
    def buffer(self) -> Buffer:
        """A fresh buffer that feeds this agent's `update`."""

    @abstractmethod
    def update(self, batch: Batch) -> Numbers:
        """One learning step; the numbers to log."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `agent.safetensors` (all that `act` needs) into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote into an agent built from the same configuration."""

    def training_state(self) -> dict[str, Any]:
        """What `update` needs beyond the weights: optimizers, counters, generators; tensors and plain values only."""
        return {}

    def set_training_state(self, state: dict[str, Any]) -> None:  # noqa: B027 (optional, not forgotten)
        """Take back what `training_state` gave."""

    def predict(
        self,
        observation: Mapping[str, Array],
        state: Carry | None = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
    ) -> tuple[Array, Carry]:
        """`act` as SB3 calls it, so that the ecosystem's tools accept every agent; batched observations only."""
        n = len(next(iter(observation.values())))
        first = np.ones(n, bool) if episode_start is None else np.asarray(episode_start, bool)
        carry = self.initial(n) if state is None else state
        action, carry, _ = self.act(observation, carry, first, "eval" if deterministic else "train")
        return action, carry


__all__ = ["Agent", "Array", "Batch", "Buffer", "Carry", "Mode", "Numbers", "Row", "VectorEnvironment"]
