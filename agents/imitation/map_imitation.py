"""An agent that learns to plan on the maps that it observes, from an expert's walks, by a value iteration network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers
from embodia.agents.imitation.inverse.map_body import MapBody, body_of
from embodia.agents.imitation.inverse.walk_buffer import WalkBuffer
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.weights import load_weights, save_weights
from embodia.planners.search.map_policy import MapPolicy
from embodia.planners.search.reactive_map_policies import MapCNN, MapFCN
from embodia.planners.search.value_iteration_network import ValueIterationNetwork, VINConfig

AHEAD = 3
"""Number of moves that are planned ahead of the present state."""
MARGIN = 3
"""Empty rows and columns that stay at the ends of a map, so that its end is the same as that of a larger map."""


@dataclass(frozen=True)
class MapImitationConfig:
    """Imitation of an expert's walks on observed maps by a network that plans, or by one that does not."""

    seed: int = 0
    """Random seed of the order of demonstrations."""
    network: Literal["vin", "untied-vin", "cnn", "fcn"] = "vin"
    """vin plans on the map. Its controls: untied-vin has other weights in each iteration; cnn and fcn do not plan."""
    iterations: int = 40
    """Number of iterations of value iteration; at least the number of moves to the farthest goals."""
    q_channels: int = 10
    """Number of channels of Q for each direction."""
    hidden: int = 150
    """Number of channels between the map and the reward."""
    relu: bool = False
    """Apply a ReLU to these channels."""
    labels: Literal["walks", "shortest"] = "walks"
    """Moves to imitate: those of the expert's walks, or in every state those of shortest paths over open cells to the
    walk's goal, a planner as the expert."""
    demonstrations: int = 200
    """Number of the expert's episodes to learn from."""
    learning_rate: float = 1e-2
    """AdamW's peak learning rate."""
    updates: int = 2_000
    """Number of updates over which the learning rate falls to 0 along a cosine."""
    batch_size: int = 8
    """Demonstrations per update."""
    train_freq: int = 8
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 8
    """Updates per round."""


class MapImitation(Agent):
    """Clones an expert's walks on observed maps: maps in, a path out, which the body follows.

    The network reads the features of the map's cells and the goal, once per episode, and gives the best move in every
    state. In training the expert acts. In evaluation the agent follows the path of best moves from its state. Carry:
    {"maps" (n, C, rows, columns), "move" (n, states)}, where moves of a CNN, which reads a state at a time, stay -1.

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
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        config: MapImitationConfig | None = None,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or MapImitationConfig()
        c = self.config
        if c.demonstrations < 1:
            raise ValueError(f"agent.demonstrations is {c.demonstrations}; give at least 1")
        self.body = body_of(observation_space, action_space)
        self.policy = network(c, self.body)
        optimization = OptimizationConfig(
            steps=c.updates, learning_rate=c.learning_rate, weight_decay=0.0, warmup=100, device="cpu"
        )
        self.training = Optimization(self.policy, optimization)

    def initial(self, n: int) -> Carry:
        states = len(self.body.planner.cell_of)
        maps = torch.zeros(n, self.policy.channels, *self.body.shape)
        return {"maps": maps, "move": torch.full((n, states), -1)}

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The expert's action in training; in evaluation the next step of the path."""
        if mode in self.needs_expert:
            return np.asarray(obs["expert_action"]), carry, {}
        carry = self.planned(obs, carry, np.asarray(first))
        actions = [
            self.body.action({key: value[i] for key, value in obs.items()}, *path)
            for i, path in enumerate(self.paths(carry, self.body.state(obs)))
        ]
        return np.array(actions, self.action_space.dtype), carry, {}

    @torch.no_grad()
    def planned(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> Carry:
        """Read the map where an episode begins."""
        new = np.flatnonzero(first)
        if len(new) == 0:
            return carry
        maps, move = carry["maps"].clone(), carry["move"].clone()
        begun = {key: value[new] for key, value in obs.items()}
        maps[new] = with_goal(torch.from_numpy(self.body.features(begun)), torch.from_numpy(self.body.goal(begun)))
        if not isinstance(self.policy, MapCNN):
            number, state = torch.meshgrid(torch.arange(len(new)), torch.arange(move.shape[1]), indexing="ij")
            move[new] = self.policy.best(maps[new])(number, state)
        return {"maps": maps, "move": move}

    def paths(self, carry: Carry, state: Array) -> list[tuple[Array, Array]]:
        """Return the next states (T,) and moves (T,) from the states (n,) of n worlds; the goal ends a path."""
        number, states, moves = torch.arange(len(state)), [], []
        goal = carry["maps"][:, -1].flatten(1).argmax(1).numpy()
        one_by_one = self.policy.best(carry["maps"]) if isinstance(self.policy, MapCNN) else None
        for _ in range(AHEAD):
            states.append(state)
            here = number, torch.from_numpy(state)
            moves.append((one_by_one(*here) if one_by_one else carry["move"][here]).numpy())
            state = self.body.planner.paths.outcome[state, moves[-1]]
        along, chosen = np.stack(states, 1), np.stack(moves, 1)
        going = np.cumprod(self.body.planner.cell_of[along] != goal[:, None], 1).sum(1)
        return [(s[:steps], m[:steps]) for s, m, steps in zip(along, chosen, going)]

    def buffer(self) -> WalkBuffer:
        c = self.config
        return WalkBuffer(self.body, c.batch_size, c.demonstrations, c.train_freq, c.gradient_steps, None, c.seed)

    def update(self, batch: Batch) -> Numbers:
        """One step on a batch of `WalkBuffer`: the cross-entropy with the moves of the walks, or of shortest paths."""
        if self.config.labels == "walks":
            number, step = (batch["states"] >= 0).nonzero(as_tuple=True)
            state, move = batch["states"][number, step], batch["moves"][number, step]
        else:
            found = [shortest(self.body, each, int(goal)) for each, goal in zip(batch["features"], batch["goal"])]
            number = torch.arange(len(found)).repeat_interleave(torch.tensor([len(each[0]) for each in found]))
            state, move = (torch.cat(column) for column in zip(*found))
        maps = with_goal(batch["features"], batch["goal"])
        if self.config.network in ("vin", "untied-vin"):
            maps, state = cropped(maps, state, self.policy.directions)
        return self.training.update({"maps": maps, "number": number, "state": state, "move": move})

    def save(self, folder: Path) -> None:
        save_weights(self.policy, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.policy, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return self.training.training_state()

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.training.set_training_state(state)


def network(config: MapImitationConfig, body: MapBody) -> MapPolicy:
    """Build the network for a body: its channels are the features of the cells and the goal."""
    cells = body.shape[0] * body.shape[1]
    directions, moves = len(body.planner.cell_of) // cells, body.planner.paths.outcome.shape[1]
    channels = body.channels + 1
    if config.network == "cnn":
        return MapCNN(channels, body.shape, moves, directions)
    if config.network == "fcn":
        return MapFCN(channels, body.shape, moves, directions)
    tied = config.network == "vin"
    kind = VINConfig(config.iterations, config.hidden, config.q_channels, config.relu, tied)
    return ValueIterationNetwork(channels, moves, directions, kind)


def with_goal(features: Tensor, goal: Tensor) -> Tensor:
    """Append a channel with the goal to features (n, C, rows, columns), given goal cells (n,)."""
    channel = torch.zeros(len(features), *features.shape[2:])
    channel.flatten(1)[torch.arange(len(goal)), goal] = 10.0
    return torch.cat([features, channel[:, None]], 1)


def shortest(body: MapBody, features: Tensor, goal: int) -> tuple[Tensor, Tensor]:
    """Return the states with a path over open cells to a goal, and the first moves of the shortest, both (N,).

    Of equally short paths it takes the one whose first move comes last in the body's order: diagonals before others.

    Args:
        body: The body.
        features: Of one map, (C, rows, columns).
        goal: The goal cell.
    """
    planner, blocked = body.planner, 1e4
    open_ = body.open(features[None].numpy())[0]
    open_[goal] = True
    cost = planner.moves(np.where(open_, 1.0, blocked))
    to_go = planner.to_go(cost, goal)
    outcome = planner.paths.outcome
    total = np.where(outcome == np.arange(len(outcome))[:, None], np.inf, cost + to_go[outcome])
    move = outcome.shape[1] - 1 - total.round(6)[:, ::-1].argmin(1)
    state = np.flatnonzero(open_[planner.cell_of] & (to_go > 0) & (to_go < blocked))
    return torch.from_numpy(state), torch.from_numpy(move[state])


def cropped(maps: Tensor, state: Tensor, directions: int) -> tuple[Tensor, Tensor]:
    """Remove most of the empty rows and columns at the far ends of maps (B, C, H, W), and renumber states (N,)."""
    used, columns = maps.ne(0).any(0).any(0), maps.shape[3]
    high, wide = (int(used.any(axis).nonzero().max()) + 1 + MARGIN for axis in (1, 0))
    cell, direction = state // directions, state % directions
    wide = min(wide, columns)
    cell = cell // columns * wide + cell % columns
    return maps[:, :, :high, :wide].contiguous(), directions * cell + direction
