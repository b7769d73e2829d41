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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[Any]
Carry = dict[str, Any]
"""An agent's memory: a nested dict of tensors, each (n, ...). Handed in, taken back, never kept."""
Batch = Any
"""What a buffer yields to the agent it belongs to; usually a dict of tensors (T, B, ...) or (B, ...)."""
Mode = Literal["train", "eval"]


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


@dataclass(frozen=True)
class Pieces:
    """The batches of recorded rows that an agent's `update` takes."""

    number: int
    """Pieces in a batch (B)."""
    length: int | None = None
    """Consecutive rows of a piece (T): a batch is rows (T, B, ...) with `mask` (T, B), False in last rows. None for
    single rows (B, ...), of which none is last."""
    crossing: bool = False
    """Whether a piece may run on into another episode, as `first` says; else `mask` is False behind the episode."""
    keys: Sequence[str] | None = None
    """The observations that `update` reads; None for all."""

    @property
    def rows(self) -> int:
        """Rows of a piece."""
        return self.length or 1


class Agent(ABC):
    """Decides, and learns from rows. It keeps weights and optimizers; memory of an episode travels in the carry."""

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    needs_expert: tuple[Mode, ...] = ()
    """In these modes `act` is handed the environment's `expert_action` as `obs["expert_action"]`; extras keep it."""

    needs_snapshot: bool = False
    """Whether `act` is handed the worlds' own snapshots, a list of n (None where an episode is over), as
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
    def update(self, batch: Batch) -> dict[str, float]:
        """One learning step; the numbers to log."""

    def offline(self) -> Pieces | None:
        """How `update` learns from rows that others recorded, without acting; None where it cannot (the default)."""
        return None

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
        """`act` with SB3's signature: on one unbatched observation, or on a batch of n.

        Args:
            observation: each key shaped as `observation_space` says, or (n, ...).
            state: the memory that the last call gave back; None at the start.
            episode_start: (n,) bool, where a new episode begins; None: nowhere, but at the start (`state` None).
            deterministic: act as in evaluation; else as in training.

        Returns:
            The action, batched as the observation is, and the memory, which is always batched.
        """
        key = next(iter(self.observation_space))
        single = np.shape(observation[key]) == self.observation_space[key].shape
        batch = {name: np.asarray(value)[None] if single else value for name, value in observation.items()}
        n = len(batch[key])
        first = np.full(n, state is None) if episode_start is None else np.broadcast_to(episode_start, n).astype(bool)
        carry = self.initial(n) if state is None else state
        action, carry, _ = self.act(batch, carry, first, "eval" if deterministic else "train")
        return (action[0] if single else action), carry


class Learner(Protocol):
    """An `nn.Module` that `agents.training.fit` trains on data: encoders, detectors, generative and world models.

    `loss` is all it needs. A module without `after_update` has nothing to do there; without `kept`, all of it is kept.
    Two more attributes are optional:

    - `steady: Mapping[str, float]`: submodules whose learning rate is not annealed, each with how many times as high
      as the others' it is.
    - `update(batch) -> {name: number}` with `optimizers`, a sequence of them: for parts with optimizers of their own (a
      discriminator beside a policy). `fit` calls `update` in place of `loss`, scales the optimizers' learning rates by
      its schedule and saves their states with the weights.

    An `Agent` learns from data too: `fit` calls its `update`, and saves and resumes it as the loop in worlds does.
    """

    def loss(self, batch: Any) -> "tuple[Tensor, dict[str, Tensor]]":
        """A batch as the learner's data gives it -> scalar loss, and the numbers to log, each a scalar tensor."""

    def after_update(self) -> None:
        """Called after each optimizer step: a momentum teacher moves."""

    @property
    def kept(self) -> "nn.Module":
        """What is saved as the result of training."""


class Data(Protocol):
    """What a learner learns from, in batches, for ever."""

    def batch(self, n: int) -> Any:
        """The next n examples, as the learner takes them: a nested dict of arrays or tensors."""

    def state_dict(self) -> dict[str, Any]:
        """Where the data stand: the next batches after `load_state_dict` are those that would have come."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


__all__ = ["Agent", "Array", "Batch", "Buffer", "Carry", "Data", "Learner", "Mode", "Pieces", "Row"]
