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
        """One step on a batch of `WalkBuffer`: the cross-entropy with the moves of the walks."""
        number, step = (batch["states"] >= 0).nonzero(as_tuple=True)
        labelled = {
            "maps": with_goal(batch["features"], batch["goal"]),
            "number": number,
            "state": batch["states"][number, step],
            "move": batch["moves"][number, step],
        }
        return self.training.update(labelled)

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
