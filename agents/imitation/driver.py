"""An agent that drives with a planner; a learned planner is trained on recorded drives of the expert."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from gymnasium import spaces
from torch import nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Pieces
from embodia.agents.references.untrained import write_nothing
from embodia.agents.training.buffers.no_buffer import NoBuffer
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.weights import load_weights, save_weights
from embodia.planners import DrivingPlanner


@dataclass(frozen=True)
class DriverConfig:
    """A driving planner. A learned planner is trained on drives of the expert, which are recorded first."""

    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    planner: Annotated[Any, DrivingPlanner] = "idm"
    """Planner."""
    drives: int = 200
    """Number of expert drives to record as training data, unless --data is given."""
    batch_size: int = 256
    """Rows per update."""
    learning_rate: float = 1e-3
    """AdamW's peak learning rate; it falls to 0 along a cosine."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0."""
    weight_decay: float = 1e-4
    """AdamW's weight decay, of matrices and kernels only."""
    clip: float | None = 1.0
    """Maximum gradient norm (gradients are clipped to it); None for no limit."""


class Driver(Agent):
    """Takes the environment's expert action; where this agent is evaluated, that expert is `driving_planner`.

    The environment calls the planner, because it plans from the whole scene and not from the observation alone. A
    learned planner is trained on rows (B, ...) whose label is `extras["expert_action"]`: poses (B, 51), in the layout
    of the environment's trajectory actions.

    Args:
        observation_space: observation space of the driving environment.
        action_space: action space of the driving environment.
        planner: a `DrivingPlanner`; a learned one is an `nn.Module` and a `Learner`.
        steps: total number of updates.
        config: hyperparameters.
    """

    needs_expert: tuple[Mode, ...] = ("train", "eval")
    parallel = True

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        planner: DrivingPlanner,
        steps: int = 2_000,
        config: DriverConfig | None = None,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.driving_planner, self.config = planner, config or DriverConfig()
        c = self.config
        optimization = OptimizationConfig(
            steps=steps,
            learning_rate=c.learning_rate,
            warmup=c.warmup,
            weight_decay=c.weight_decay,
            clip=c.clip,
            device=c.device,
        )
        self.training = Optimization(planner, optimization) if isinstance(planner, nn.Module) else None

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        return np.asarray(obs["expert_action"]), carry, {}

    def buffer(self) -> NoBuffer:
        return NoBuffer()

    def offline(self) -> Pieces | None:
        """Batches of single rows; None for a planner without weights."""
        return Pieces(self.config.batch_size) if self.training else None

    def update(self, batch: Batch) -> dict[str, Any]:
        """One step of the planner on rows (B, ...)."""
        assert self.training is not None, "a planner without weights cannot be trained"
        numbers = self.training.update(batch)
        self.training.learner.eval()  # it acts between two updates
        return numbers

    def save(self, folder: Path) -> None:
        if self.training:
            save_weights(self.training.current, folder / "agent.safetensors")
        else:
            write_nothing(folder)

    def load(self, folder: Path) -> None:
        if self.training:
            load_weights(self.training.current, folder / "agent.safetensors")
            self.training.learner.eval()

    def training_state(self) -> dict[str, Any]:
        return self.training.training_state() if self.training else {}

    def set_training_state(self, state: dict[str, Any]) -> None:
        if self.training:
            self.training.set_training_state(state)
