"""Model predictive control: plan in a world model, execute the first actions of the plan, and plan again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Buffer, Carry, Mode, Numbers, Pieces
from embodia.agents.references.untrained import write_nothing
from embodia.agents.training.buffers.no_buffer import NoBuffer
from embodia.agents.training.buffers.train_ratio import TrainRatioReplay
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.planners import Objective, Planner, WorldModel
from embodia.planners.models.actions import box_bounds
from embodia.planners.models.state import put
from embodia.planners.search.objective import ObservedGoal
from embodia.planners.trees import index

ROWS = ("obs", "reward", "first", "last", "terminal", "action")


@dataclass(frozen=True)
class MPCSettings:
    """Settings that all planning agents share: how they act, and how a learned model is trained."""

    seed: int = 0
    """Random seed of replay sampling."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    n_action_steps: int = 1
    """Number of actions of a plan that are executed before the next plan. Use the planner's horizon for open loop."""
    exploration_noise: float = 0.3
    """Exploration while the model learns: standard deviation of the noise on continuous actions, in units of half
    their range; probability of a random action if they are discrete."""
    learning_rate: float = 1e-3
    """AdamW's learning rate for the model."""
    clip: float = 100.0
    """Maximum gradient norm (gradients are clipped to it)."""
    batch_size: int = 16
    """Sequences per update."""
    sequence_length: int = 32
    """Rows per sequence."""
    buffer_size: int = 200_000
    """Replay capacity in rows, over all environments."""
    learning_starts: int = 1000
    """Transitions with random actions before the first update."""
    train_ratio: float = 128.0
    """Replayed rows per row of experience."""


@dataclass(frozen=True)
class MPCConfig(MPCSettings):
    """Model predictive control with any world model, planner and objective."""

    model: Annotated[Any, WorldModel] = "rssm"
    """World model to plan in. rssm and dino-wm are learned; simulator plans in the environment itself, by snapshots."""
    planner: Annotated[Any, Planner] = "cem"
    """Planner."""
    objective: Annotated[Any, Objective] = "return"
    """Objective: predicted return, distance to the observed goal, or cost."""


class MPC(Agent):
    """Model predictive control with any world model, planner and objective.

    A model with weights is trained on replayed rows in `update`; an analytic model is not trained. Each environment is
    planned for independently. Carry: {"model": the model's state, "action": the last action, "memory": {"planner": the
    planner's carry, "plan" (n, H, ...), "age" (n,) number of executed actions of the plan}}.

    Args:
        observation_space: of the environment; the model reads the keys it needs.
        action_space: Discrete or a Box (A,).
        model: a `WorldModel`.
        planner: a `Planner` made for `action_space`.
        objective: an `Objective`, or `ObservedGoal`.
        config: hyperparameters.
        keys: observations stored for training; by default all.

    Raises:
        TypeError: if the model does not predict what the objective scores, or reads an observation that the
            environment does not have.
    """

    Config = MPCConfig

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        model: WorldModel,
        planner: Planner,
        objective: Objective | ObservedGoal,
        config: MPCSettings | None = None,
        keys: Sequence[str] | None = None,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.settings = config or MPCSettings()
        self.device = choose_device(self.settings.device if isinstance(model, nn.Module) else "cpu")
        self.model = model.to(self.device) if isinstance(model, nn.Module) else model
        self.planner, self.objective, self.keys = planner, objective, keys
        self.is_discrete = isinstance(action_space, spaces.Discrete)
        weights = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        trained = [weight for weight in weights if weight.requires_grad]
        self.optimizer: torch.optim.Optimizer | None = None
        if trained:
            self.optimizer = torch.optim.AdamW(trained, self.settings.learning_rate)
        self.updates = 0
        self.needs_snapshot = getattr(model, "needs_snapshot", False)
        seen = getattr(model, "observation_key", None)
        if seen is not None and seen not in observation_space.spaces:
            raise TypeError(
                f"{type(model).__name__} reads the observation {seen}, but the environment has "
                f"{', '.join(observation_space.spaces)}; choose a learned model, such as rssm"
            )
        said = model.predict(model.initial(1))
        if (key := getattr(objective, "key", None)) is not None and key not in said:
            raise TypeError(
                f"{type(objective).__name__} scores the predicted {key}, but {type(model).__name__} predicts "
                f"{', '.join(sorted(said))}; choose another objective or model"
            )

    def initial(self, n: int) -> Carry:
        shape = (n,) if self.is_discrete else (n, *(self.action_space.shape or ()))
        action = torch.zeros(shape, dtype=torch.int64 if self.is_discrete else torch.float32, device=self.device)
        return {"model": self.model.initial(n), "action": action + self.start, "memory": {}}

    @property
    def start(self) -> int:
        """The lowest discrete action."""
        return int(getattr(self.action_space, "start", 0))

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        seen = to_torch(dict(obs), self.device)
        flags = torch.as_tensor(first, device=self.device)
        state = self.model.observe(carry["model"], seen, carry["action"], flags)
        explores = mode == "train" and self.optimizer is not None
        memory = carry["memory"]
        if explores and self.updates == 0:
            action = self.random_action(len(first))
        else:
            # Actions before the first update were random, so there may be no plan to continue.
            memory = self.plan(state, seen, memory, flags if memory else torch.ones_like(flags))
            age = memory["age"] - 1  # index of the action to execute now
            action = memory["plan"][torch.arange(len(age), device=age.device), age].to(self.device)
            action = self.perturbed(action) if explores else action
        done = action if self.is_discrete else action.float().clamp(*self.bounds(action.float()))
        taken = done.cpu().numpy().astype(self.action_space.dtype)
        return taken, {"model": state, "action": done, "memory": memory}, {}

    def plan(self, state: Any, seen: Mapping[str, Tensor], memory: Carry, first: Tensor) -> Carry:
        """Plan anew where an episode begins (with an empty memory) or the old plan is used up; return the memory."""
        n = len(first)
        due = first if not memory else first | (memory["age"].to(first.device) >= self.settings.n_action_steps)
        for group, known in ((first, {}), (due & ~first, memory)):
            rows = group.nonzero()[:, 0]
            if len(rows) == 0:
                continue
            objective = self.objective
            if isinstance(objective, ObservedGoal):
                actions = torch.zeros(len(rows), *(self.action_space.shape or ()), device=self.device)
                objective = objective.given(self.model, index(seen, rows), actions)
            old = index(known["planner"], rows) if known else {}
            plan, kept = self.planner.plan(self.model, index(state, rows), objective, old)
            age = torch.zeros(len(rows), dtype=torch.int64, device=plan.device)
            memory = put(memory, rows, {"planner": kept, "plan": plan, "age": age}, n)
        return {**memory, "age": memory["age"] + 1}

    def perturbed(self, action: Tensor) -> Tensor:
        """Add noise to a continuous action; replace a discrete one by a random one with some probability."""
        share = self.settings.exploration_noise
        if self.is_discrete:
            drawn = torch.rand(action.shape, device=action.device) < share
            return torch.where(drawn, self.random_action(len(action)), action)
        low, high = self.bounds(action)
        return action + share * (high - low) / 2 * torch.randn_like(action)

    def random_action(self, n: int) -> Tensor:
        """Sample actions (n, ...) uniformly from the action space."""
        if isinstance(self.action_space, spaces.Discrete):
            return self.start + torch.randint(int(self.action_space.n), (n,), device=self.device)
        unit = torch.rand(n, *(self.action_space.shape or ()), device=self.device)
        low, high = self.bounds(unit)
        return low + unit * (high - low)

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.action_space, spaces.Box)
        return box_bounds(self.action_space, like)

    def buffer(self) -> Buffer:
        if self.optimizer is None:
            return NoBuffer()
        s = self.settings
        return TrainRatioReplay(
            s.train_ratio, s.buffer_size, s.batch_size, s.sequence_length, s.learning_starts, s.seed, self.keys
        )

    def offline(self) -> Pieces | None:
        """Sequences of rows to train the model on; None for a model without weights."""
        s = self.settings
        pieces = Pieces(s.batch_size, s.sequence_length, crossing=True, keys=self.keys)
        return None if self.optimizer is None else pieces

    def update(self, batch: Batch) -> Numbers:
        """Train the model for one step on rows (T, B, ...)."""
        assert self.optimizer is not None, "an analytic model cannot be trained"
        assert isinstance(self.model, nn.Module)
        loss, numbers = self.model.loss(to_torch({key: batch[key] for key in ROWS}, self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.updates += 1
        return {"loss": loss.detach(), "gradient_norm": norm, **detached(numbers)}

    def save(self, folder: Path) -> None:
        if isinstance(self.model, nn.Module):
            save_weights(self.model, folder / "agent.safetensors")
        else:
            write_nothing(folder)

    def load(self, folder: Path) -> None:
        if isinstance(self.model, nn.Module):
            load_weights(self.model, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {"updates": self.updates, "optimizer": self.optimizer.state_dict() if self.optimizer else {}}

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])


def detached(numbers: Mapping[str, Tensor]) -> Numbers:
    """The numbers without their gradients."""
    return {name: value.detach() for name, value in numbers.items()}
