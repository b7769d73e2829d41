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

    Only `loss` is required. Without `after_update` nothing follows an optimizer step; without `kept` the whole module
    is kept. Further optional attributes:

    - `steady: Mapping[str, float]`: submodules whose learning rate is not annealed; each has this multiple of the
      highest learning rate.
    - `update(batch) -> {name: number}` and `optimizers`, a sequence: for parts with their own optimizers (a
      discriminator beside a policy). `fit` calls `update` instead of `loss`, applies its schedule to the optimizers'
      learning rates, and saves the optimizers' states with the weights.

    An `Agent` can be trained on data too: `fit` calls its `update`, and saves and resumes it like the loop in worlds.
    """

    def loss(self, batch: Any) -> "tuple[Tensor, dict[str, Tensor]]":
        """A batch as the data gives it -> the scalar loss, and the numbers to log, each a scalar tensor."""

    def after_update(self) -> None:
        """Called after each optimizer step, to move a momentum teacher for example."""

    @property
    def kept(self) -> "nn.Module":
        """The module that is saved as the result of training."""


class Data(Protocol):
    """An endless stream of batches to learn from."""

    def batch(self, n: int) -> Any:
        """The next n examples, as the learner takes them: usually a nested dict of arrays or tensors."""

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream: after `load_state_dict` the same batches follow."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position that `state_dict` gave."""


__all__ = [
    "Agent",
    "Array",
    "Batch",
    "Buffer",
    "Carry",
    "Data",
    "Learner",
    "Mode",
    "Numbers",
    "Pieces",
    "Row",
    "VectorEnvironment",
]
