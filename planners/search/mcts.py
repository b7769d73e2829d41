"""Monte Carlo tree search by UCT (Kocsis & Szepesvari 2006), values scaled to the range seen (MuZero, appendix B)."""

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
        """Mean return from here on."""
        return self.total / self.visits if self.visits else 0.0


@dataclass(frozen=True)
class MCTS:
    """Plans in any model with discrete actions; leaves are valued by `model.value(state)` or random roll-outs.

    Rewards are the model's; the objective is not consulted. Deterministic models: a node is a sequence of actions.
    """

    actions: int
    simulations: int = 100
    """Descents of the tree per plan."""
    rollout: int = 20
    """Length of the random roll-out from a leaf."""
    exploration: float = 1.25
    """Weight of the bonus of seldom tried actions."""
    discount: float = 0.99
    """Of rewards."""
    seed: int = 0
    """Of roll-outs and untried actions."""

    def plan(self, model: WorldModel, state: State, objective: Objective | None, carry: Carry) -> tuple[Tensor, Carry]:
        """state (B, ...) -> the most visited action of each world, (B, 1) int64."""
        worlds = batch_size(state)
        calls = carry.get("calls", torch.zeros(worlds, dtype=torch.int64))
        chosen = []
        for b in range(worlds):
            rng = np.random.default_rng((self.seed, int(calls[b])))
            chosen.append(self.search(model, index(state, torch.tensor([b])), rng))
        return torch.tensor(chosen, dtype=torch.int64)[:, None], {"calls": calls + 1}

    def search(self, model: WorldModel, state: State, rng: np.random.Generator) -> int:
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
        """From the root to a new leaf, or to an end."""
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
        after = model.imagine(node.state, torch.tensor([action], device=device_of(node.state)))
        said = model.predict(after)
        node.children[action] = Node(after, float(said["reward"][0]), float(said["cont"][0]))
        return node.children[action]

    def upper_bound(self, parent: Node, child: Node, low: float, high: float) -> float:
        q = child.reward + self.discount * child.value
        scaled = (q - low) / (high - low) if high > low else 0.5
        return scaled + self.exploration * math.sqrt(math.log(parent.visits + 1) / child.visits)

    def leaf_value(self, model: WorldModel, leaf: Node, rng: np.random.Generator) -> float:
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
