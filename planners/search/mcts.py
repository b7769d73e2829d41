"""Monte Carlo tree search with UCT (Kocsis & Szepesvari 2006) and normalised values (MuZero, appendix B)."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.state import batch_size, device_of
from embodia.planners.trees import index


@dataclass
class Node:
    """A state reached by one action from its parent."""

    state: State
    reward: float
    cont: float
    visits: int = 0
    total: float = 0.0
    children: dict[int, "Node"] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Mean return from this node on."""
        return self.total / self.visits if self.visits else 0.0


@dataclass(frozen=True)
class MCTS:
    """Plan in a deterministic model with discrete actions. Each node is a sequence of actions.

    Leaves are evaluated by `model.value(state)`, or by random roll-outs if the model has none. Rewards come from the
    model; the objective is ignored.
    """

    actions: int
    """Number of actions."""
    simulations: int = 100
    """Number of simulations per plan."""
    rollout: int = 20
    """Number of steps of a random roll-out from a leaf."""
    exploration: float = 1.25
    """Exploration constant of UCT, the weight of rarely tried actions."""
    discount: float = 0.99
    """Discount factor of the rewards."""
    seed: int = 0
    """Seed of roll-outs and of the choice among untried actions."""

    def plan(self, model: WorldModel, state: State, objective: Objective | None, carry: Carry) -> tuple[Tensor, Carry]:
        """Return the most visited action (B, 1) int64 of each environment, for states (B, ...)."""
        worlds = batch_size(state)
        calls = carry.get("calls", torch.zeros(worlds, dtype=torch.int64))
        chosen = []
        for b in range(worlds):
            rng = np.random.default_rng((self.seed, int(calls[b])))
            chosen.append(self.search(model, index(state, torch.tensor([b])), rng))
        return torch.tensor(chosen, dtype=torch.int64)[:, None], {"calls": calls + 1}

    def search(self, model: WorldModel, state: State, rng: np.random.Generator) -> int:
        """Search from one state and return the most visited action."""
        root = Node(state, 0.0, 1.0)
        low, high = math.inf, -math.inf
        for _ in range(self.simulations):
            path = self.descend(model, root, rng, low, high)
            value = self.leaf_value(model, path[-1], rng)
            for node in reversed(path):
                node.visits += 1
                node.total += value
                value = node.reward + self.discount * value
                low, high = min(low, value), max(high, value)
        return max(root.children, key=lambda a: (root.children[a].visits, root.children[a].value))

    def descend(self, model: WorldModel, node: Node, rng: np.random.Generator, low: float, high: float) -> list[Node]:
        """Return the path from the root to a new leaf or to the end of an episode."""
        path = [node]
        while node.cont:
            untried = [a for a in range(self.actions) if a not in node.children]
            if untried:
                path.append(self.expand(model, node, int(rng.choice(untried))))
                return path
            node = max(node.children.values(), key=lambda child: self.upper_bound(node, child, low, high))
            path.append(node)
        return path

    def expand(self, model: WorldModel, node: Node, action: int) -> Node:
        """Add the child that `action` leads to."""
        after = model.imagine(node.state, torch.tensor([action], device=device_of(node.state)))
        said = model.predict(after)
        node.children[action] = Node(after, float(said["reward"][0]), float(said["cont"][0]))
        return node.children[action]

    def upper_bound(self, parent: Node, child: Node, low: float, high: float) -> float:
        """Return the UCT score of a child."""
        q = child.reward + self.discount * child.value
        scaled = (q - low) / (high - low) if high > low else 0.5
        return scaled + self.exploration * math.sqrt(math.log(parent.visits + 1) / child.visits)

    def leaf_value(self, model: WorldModel, leaf: Node, rng: np.random.Generator) -> float:
        """Return the value of a leaf, from the model or a random roll-out."""
        if not leaf.cont:
            return 0.0
        if hasattr(model, "value"):
            return float(model.value(leaf.state)[0])
        total, weight, state = 0.0, 1.0, leaf.state
        for action in rng.integers(self.actions, size=self.rollout):
            state = model.imagine(state, torch.tensor([int(action)], device=device_of(state)))
            said = model.predict(state)
            total += weight * float(said["reward"][0])
            weight *= self.discount * float(said["cont"][0])
            if not weight:
                break
        return total
