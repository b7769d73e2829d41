"""Agents that learn what the cells of a map cost an expert, and act by the cheapest path on a map they have not seen.

Three rules learn the costs: `MaxEntAgent`, `MaxMarginAgent` and `CostLoopAgent`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers
from embodia.agents.imitation.inverse.cost_loop import CostLoop
from embodia.agents.imitation.inverse.cost_map import CostMap
from embodia.agents.imitation.inverse.map_body import MapBody, body_of
from embodia.agents.imitation.inverse.max_ent_irl import max_ent_loss
from embodia.agents.imitation.inverse.max_margin_planning import MaxMarginPlanning
from embodia.agents.imitation.inverse.walk_buffer import WalkBuffer
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.weights import load_weights, save_weights


@dataclass(frozen=True)
class MapConfig:
    """The cost of a map's cells, learned from an expert's walks by the plain loop with a planner."""

    seed: int = 0
    """Random seed of the order of demonstrations."""
    demonstrations: int = 200
    """Number of the expert's episodes to learn from."""
    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of the cost map, each a 3 x 3 convolution. Without any, the log cost is linear in the
    features of a cell."""
    learning_rate: float = 0.05
    """AdamW's learning rate."""
    weight_decay: float = 1e-3
    """AdamW's weight decay; in max-margin planning, the regularizer."""
    batch_size: int = 8
    """Demonstrations per update."""
    train_freq: int = 8
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 2
    """Updates per round."""


@dataclass(frozen=True)
class MaxMarginConfig(MapConfig):
    """The cost of a map's cells, learned from an expert's walks by maximum margin planning."""

    margin: float = 1.0
    """Weight of the loss by which the expert's path must be cheaper than others."""


@dataclass(frozen=True)
class MaxEntConfig(MapConfig):
    """The cost of a map's cells, learned from an expert's walks by maximum entropy inverse reinforcement learning."""

    horizon: int = 100
    """Greatest number of moves of a walk."""


class CostLoopAgent(Agent):
    """Learns a cost map from the expert's walks; in evaluation it follows the cheapest path to the goal.

    In training the expert acts. The cost map is planned on once per episode, at its first observation. Carry:
    {"cost" (n, cells), "to_go" (n, states)}.

    Args:
        observation_space: of the environment; it must show a map.
        action_space: of the environment.
        config: hyperparameters.

    Raises:
        TypeError: if the environment shows no map.
        ValueError: if there are no demonstrations to learn from.
    """

    needs_expert: tuple[Mode, ...] = ("train",)

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], config: MapConfig | None = None
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or MapConfig()
        if self.config.demonstrations < 1:
            raise ValueError(f"agent.demonstrations is {self.config.demonstrations}; give at least 1")
        self.body = body_of(observation_space, action_space)
        self.network = CostMap(self.body.channels, self.config.hidden)
        c = self.config
        optimization = OptimizationConfig(
            learning_rate=c.learning_rate, weight_decay=c.weight_decay, schedule="constant", warmup=1, device="cpu"
        )
        self.training = Optimization(self.learner(), optimization)

    def learner(self) -> nn.Module:
        """Return the rule that learns the costs."""
        return CostLoop(self.network, self.body.planner)

    def initial(self, n: int) -> Carry:
        states = len(self.body.planner.cell_of)
        return {"cost": np.ones((n, self.body.shape[0] * self.body.shape[1])), "to_go": np.zeros((n, states))}

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The expert's action in training; in evaluation the next step of the cheapest path."""
        if mode in self.needs_expert:
            return np.asarray(obs["expert_action"]), carry, {}
        carry = self.planned(obs, carry, np.asarray(first))
        state = self.body.state(obs)
        actions = [
            self.body.action({key: value[i] for key, value in obs.items()}, *self.path(carry, i, int(state[i])))
            for i in range(len(state))
        ]
        return np.array(actions, self.action_space.dtype), carry, {}

    def planned(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> Carry:
        """Plan where an episode begins."""
        new = np.flatnonzero(first)
        if len(new) == 0:
            return carry
        cost, to_go = carry["cost"].copy(), carry["to_go"].copy()
        begun = {key: value[new] for key, value in obs.items()}
        cost[new] = self.costs(begun)
        planner = self.body.planner
        for i, goal in zip(new, self.body.goal(begun)):
            to_go[i] = planner.to_go(planner.moves(cost[i]), int(goal))
        return {"cost": cost, "to_go": to_go}

    @torch.no_grad()
    def costs(self, obs: Mapping[str, Array]) -> Array:
        """Return the learned costs of the cells (n, cells)."""
        found: Array = self.network(torch.from_numpy(self.body.features(obs))).double().numpy()
        return found

    def path(self, carry: Carry, i: int, state: int, steps: int = 3) -> tuple[Array, Array]:
        """Return the next states (T,) of world i's path, from the present one on, and the moves (T,) in them."""
        planner = self.body.planner
        states: list[int] = []
        moves: list[int] = []
        to_go = carry["to_go"][i]
        while to_go[state] > 0 and len(states) < steps:
            prices = planner.lengths * carry["cost"][i][planner.after[state]]
            states.append(state)
            moves.append(planner.paths.best(prices, to_go, state))
            state = int(planner.paths.outcome[state, moves[-1]])
        return np.array(states, np.int64), np.array(moves, np.int64)

    def buffer(self) -> WalkBuffer:
        c = self.config
        return WalkBuffer(
            self.body, c.batch_size, c.demonstrations, c.train_freq, c.gradient_steps, self.longest, c.seed
        )

    @property
    def longest(self) -> int | None:
        """Greatest number of moves of a demonstration; None for no limit."""
        return None

    def update(self, batch: Batch) -> Numbers:
        """One step of the cost map on a batch of `WalkBuffer`."""
        return self.training.update(batch)

    def save(self, folder: Path) -> None:
        save_weights(self.network, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.network, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return self.training.training_state()

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.training.set_training_state(state)


class MaxMarginAgent(CostLoopAgent):
    """Learns a cost map by maximum margin planning (Ratliff, Bagnell & Zinkevich 2006)."""

    config: MaxMarginConfig

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], config: MaxMarginConfig | None = None
    ):
        super().__init__(observation_space, action_space, config or MaxMarginConfig())

    def learner(self) -> nn.Module:
        return MaxMarginPlanning(self.network, self.body.planner, self.config.margin)


class MaxEntAgent(CostLoopAgent):
    """Learns a cost map by maximum entropy inverse reinforcement learning (Ziebart et al. 2008)."""

    config: MaxEntConfig

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], config: MaxEntConfig | None = None
    ):
        super().__init__(observation_space, action_space, config or MaxEntConfig())

    def learner(self) -> nn.Module:
        return MaxEntCosts(self.network, self.body, self.config.horizon)

    @property
    def longest(self) -> int:
        return self.config.horizon


class MaxEntCosts(nn.Module):
    """MaxEnt IRL of walks that end at their goals, with the negative cost of a move as its reward."""

    def __init__(self, cost: nn.Module, body: MapBody, horizon: int):
        super().__init__()
        self.cost, self.dynamics, self.horizon = cost, body.dynamics, horizon
        self.after = torch.from_numpy(body.planner.after)
        self.lengths = torch.from_numpy(body.planner.lengths).float()
        self.cell_of = torch.from_numpy(body.planner.cell_of)

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a batch of `WalkBuffer`; the loss is the negative log-likelihood of a move."""
        reward = -(self.cost(batch["features"])[:, self.after] * self.lengths)
        worlds, states, moves = reward.shape
        steps = (batch["states"] >= 0).float()
        flat = (batch["states"] * moves + batch["moves"]).clamp(min=0)
        visits = reward.new_zeros(worlds, states * moves).scatter_add_(1, flat, steps).view(reward.shape)
        start = nn.functional.one_hot(batch["start"], states).float()
        ends = self.cell_of == batch["goal"][:, None]
        nats = max_ent_loss(reward, visits, self.dynamics, start, self.horizon, ends)
        return (nats / steps.sum(1)).mean(), {"nats": nats.mean()}
