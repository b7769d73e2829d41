"""Agents: learning algorithms, buffers, training loops and evaluation.

This module defines the interfaces of the folder. Agents use `perception` and `planners`; environments are passed to
them. A row of experience holds one time step of one environment: the observation, then the action.

    row t:  obs_t, reward_t, first_t, last_t, terminal_t   then   action_t, extras_t

`reward_t` is the reward received with `obs_t`. `first_t` marks the first row of an episode (its reward is 0). `last_t`
marks the last row; its action is never executed. `terminal_t` means that the task ended there, so no value is
bootstrapped from `obs_t`. These are the rows that next-step autoreset gives.
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

    from embodia.agents.policy import PolicyModule

Array = NDArray[Any]
Carry = dict[str, Any]
"""An agent's memory of n episodes: a nested dict of tensors, each (n, ...). `act` takes it and returns the next one."""
Batch = Any
"""What a buffer yields to the agent it belongs to; usually a dict of tensors (T, B, ...) or (B, ...)."""
Numbers = dict[str, Any]
"""Numbers to log, by name: floats, or scalar tensors without a gradient, which stay on their device until they are
written."""
Mode = Literal["train", "eval"]


class VectorEnvironment(Protocol):
    """n parallel environments; the part of `embodia.envs.VectorEnvironment` that training and evaluation use.

    Autoreset is next-step: after the last step of an episode, the next `step` ignores that environment's action and
    returns the first observation of a new episode with reward 0. Vector environments that step their environments one
    by one may also have `snapshots()`, which returns a snapshot of each.
    """

    num_envs: int

    def reset(
        self, *, seed: list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Reset all environments; with `options={"reset_mask": (n,) bool}` only those in the mask."""

    def step(self, actions: Array) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]: ...

    def expert_action(self) -> Array:
        """Return the expert's actions (n, ...); called for agents that need them (`needs_expert`)."""

    def get_state(self) -> dict[str, Any]:
        """Return an exact snapshot of all environments, for exact resume."""

    def set_state(self, state: Any) -> Any:
        """Restore a snapshot of `get_state`."""

    def render(self) -> Sequence[Any]:
        """Return one (H, W, 3) frame per environment."""


class Row(TypedDict):
    """One time step of n environments; on disk and in buffers the same keys have more leading axes."""

    obs: dict[str, Array]  # each (n, ...)
    reward: Array  # (n,) float32
    first: Array  # (n,) bool
    last: Array  # (n,) bool
    terminal: Array  # (n,) bool
    action: Array  # (n, ...) as the action space says
    extras: dict[str, Array]  # each (n, ...): what `act` returns to store, and `expert_action` if the agent needs it


class Buffer(Protocol):
    """Stores rows and yields batches to learn from."""

    def add(self, row: Row) -> None:
        """Store one row of n environments."""

    def batches(self) -> Iterator[Batch]:
        """Yield the batches due after the last added row; often none. The loop calls `agent.update` on each."""

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the random state, for exact resume."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


@dataclass(frozen=True)
class Pieces:
    """Layout of the batches of recorded rows that an agent's `update` takes."""

    number: int
    """Number of sequences in a batch (B)."""
    length: int | None = None
    """Consecutive rows of a sequence (T): a batch is rows (T, B, ...) with `mask` (T, B), False in last rows. None for
    single rows (B, ...), none of which is a last row."""
    crossing: bool = False
    """Whether a sequence may continue in another episode (`first` marks where). Otherwise `mask` is False after the
    episode's end."""
    keys: Sequence[str] | None = None
    """The observations that `update` reads; None for all."""

    @property
    def rows(self) -> int:
        """Number of rows in a sequence."""
        return self.length or 1


class Agent(ABC):
    """Base class of agents: chooses actions and learns from rows.

    An agent holds weights and optimizers. Its memory of the current episodes is the carry, which the caller keeps.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    former_names: tuple[str, ...] = ()
    """Earlier names of this class, whose checkpoints it reads."""
    needs_expert: tuple[Mode, ...] = ()
    """Modes in which `act` gets the environment's `expert_action` as `obs["expert_action"]`; it is stored in extras."""

    draws: bool = False
    """Whether `act` also returns `extras["picture"]`, images (n, H, W, 3) uint8 of what the agent knows, if it has any;
    for videos."""

    needs_snapshot: bool = False
    """Whether `act` gets `obs["snapshot"]`, an array of objects (n,) with each environment's snapshot (None after the
    end of an episode), to plan in the simulator itself."""

    parallel: bool = False
    """Whether several processes can train it together (torchrun): its `update` averages gradients over them."""

    def initial(self, n: int) -> Carry:
        """Return the carry of n environments at the start; {} for an agent without memory."""
        return {}

    @abstractmethod
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """Choose actions.

        Args:
            obs: observations, each (n, ...); also `action_mask` if the environment gives `info["action_mask"]`,
                (n, actions) bool: False marks actions that must not be chosen.
            carry: the memory that `initial` or the last call returned.
            first: (n,) bool, True where an episode begins and the memory is to be reset.
            mode: `train` may explore; `eval` is used in evaluation.

        Returns:
            The actions (n, ...), the new carry, and extras, each (n, ...), to be stored with the row.
        """

    def policy_module(self) -> "PolicyModule | None":
        """Return the policy of mode `eval` as a module that can be exported; None if there is none (the default)."""
        return None

    @abstractmethod
    def buffer(self) -> Buffer:
        """Return a new buffer that yields batches for this agent's `update`."""

    @abstractmethod
    def update(self, batch: Batch) -> Numbers:
        """Take one learning step on a batch and return the numbers to log."""

    def offline(self) -> Pieces | None:
        """Return the layout of batches for learning from recorded rows; None if the agent cannot (the default)."""
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `agent.safetensors` (all that `act` needs) into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote; the agent must have been built from the same configuration."""

    def training_state(self) -> dict[str, Any]:
        """Return what `update` needs beyond the weights: optimizers, counters, generators (tensors, plain values)."""
        return {}

    def set_training_state(self, state: dict[str, Any]) -> None:  # noqa: B027 (optional, not forgotten)
        """Restore the state that `training_state` returned."""

    def predict(
        self,
        observation: Mapping[str, Array],
        state: Carry | None = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
    ) -> tuple[Array, Carry]:
        """Choose actions with the signature of SB3's `predict`, for one observation or a batch of n.

        Args:
            observation: each key shaped as in `observation_space`, or (n, ...).
            state: the memory that the last call returned; None at the start.
            episode_start: (n,) bool, True where a new episode begins. None means everywhere if `state` is None, and
                nowhere otherwise.
            deterministic: act in mode `eval`; otherwise in mode `train`.

        Returns:
            The action, batched if the observation is, and the memory, which is always batched.
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

    Only `loss` is required. `after_update` is called only if it exists; without `kept` the whole module is saved.
    Further optional attributes:

    - `steady: Mapping[str, float]`: submodules whose learning rate is not annealed; each has this multiple of the
      peak learning rate.
    - `update(batch) -> {name: number}` and `optimizers`, a sequence: for parts with their own optimizers (a
      discriminator beside a policy). `fit` calls `update` instead of `loss`, applies its schedule to the optimizers'
      learning rates, and saves the optimizers' states with the weights.

    `fit` also trains an `Agent` on data: it calls `update`, and saves and resumes the agent as `loop.train` does.
    """

    def loss(self, batch: Any) -> "tuple[Tensor, dict[str, Tensor]]":
        """Return the scalar loss of a batch, and scalar tensors to log."""

    def after_update(self) -> None:
        """Called after each optimizer step, for example to update a momentum teacher."""

    @property
    def kept(self) -> "nn.Module":
        """The module that is saved as the result of training."""


class Data(Protocol):
    """An endless stream of batches to learn from.

    Optional attributes: `axis`, the batch axis of its arrays (by default 0), and `is_shared`, whether it gives each of
    several processes another part of a batch by itself. Otherwise every process reads whole batches.
    """

    def batch(self, n: int) -> Any:
        """Return the next n examples in the learner's format: usually a nested dict of arrays or tensors."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream; after `load_state_dict` the same batches follow."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position that `state_dict` returned."""


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
