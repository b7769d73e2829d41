"""A buffer of the expert's walks on maps, one map each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodia.agents import Row
from embodia.agents.imitation.inverse.demonstrations import DemonstrationError
from embodia.agents.imitation.inverse.map_body import MapBody, follow
from embodia.agents.imitation.inverse.max_margin_planning import path_distance
from embodia.agents.training.rows import copy
from embodia.planners.trees import index


class WalkBuffer:
    """Turns whole episodes that ended by themselves into walks; yields batches of them.

    A batch is {"features" (B, C, rows, columns), "start" (B,), "goal" (B,), "visits" (B, cells), "distance" (B, cells),
    "states" and "moves" (B, T), padded with -1}.

    Args:
        body: reads the observations.
        batch_size: walks per batch.
        wanted: number of walks to record; later ones are ignored.
        every: number of added rows (each of n environments) between two rounds of batches.
        updates: batches per round.
        longest: greatest number of moves of a walk; None for no limit.
        seed: random seed.
    """

    def __init__(
        self, body: MapBody, batch_size: int, wanted: int, every: int, updates: int, longest: int | None, seed: int
    ):
        self.body, self.batch_size, self.wanted, self.every, self.updates = body, batch_size, wanted, every, updates
        self.longest = longest
        self.rng = np.random.default_rng(seed)
        self.walks: list[dict[str, Any]] = []
        self.open: dict[int, dict[str, Any]] = {}
        self.added = 0

    def add(self, row: Row) -> None:
        self.added += 1
        if len(self.walks) >= self.wanted:
            self.open = {}
            return
        state = self.body.state(row["obs"])
        for world in range(len(state)):
            if row["first"][world]:
                self.open[world] = {"obs": copy(index(row["obs"], slice(world, world + 1))), "states": []}
            if world not in self.open:
                continue
            self.open[world]["states"].append(int(state[world]))
            if row["last"][world]:
                closed = self.open.pop(world)
                if row["terminal"][world] and len(self.walks) < self.wanted:
                    self.walks.append(self.walk(closed["obs"], np.array(closed["states"])))

    def walk(self, obs: dict[str, Any], states: Any) -> dict[str, Any]:
        """Return a walk from its first observation and its states; the goal is where it ended.

        Raises:
            DemonstrationError: if it leaves the map, is too long, or does not move.
        """
        before, moves = follow(self.body, states)
        if len(moves) == 0 or (self.longest is not None and len(moves) > self.longest):
            raise DemonstrationError(
                f"a demonstration has {len(moves)} moves; it must have at least 1"
                + (f" and at most agent.horizon = {self.longest}" if self.longest is not None else "")
            )
        visits = self.body.planner.visits(before, moves).float()
        return {
            "features": self.body.features(obs)[0],
            "start": int(states[0]),
            "goal": int(self.body.planner.cell_of[states[-1]]),
            "states": before,
            "moves": moves,
            "visits": visits.numpy(),
            "distance": path_distance(visits, self.body.shape).numpy(),
        }

    def batches(self) -> Iterator[dict[str, Tensor]]:
        if self.walks and self.added % self.every == 0:
            for _ in range(self.updates):
                yield self.sample()

    def sample(self) -> dict[str, Tensor]:
        """Return the next batch: walks drawn without replacement, as far as there are enough."""
        number = min(self.batch_size, len(self.walks))
        chosen = [self.walks[i] for i in self.rng.choice(len(self.walks), number, replace=False)]
        longest = max(len(each["moves"]) for each in chosen)
        padded = {
            name: np.stack([np.pad(each[name], (0, longest - len(each[name])), constant_values=-1) for each in chosen])
            for name in ("states", "moves")
        }
        whole = {
            name: np.stack([each[name] for each in chosen])
            for name in ("features", "start", "goal", "visits", "distance")
        }
        return {name: torch.from_numpy(value) for name, value in (whole | padded).items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "walks": list(self.walks),
            "open": {world: dict(each, states=list(each["states"])) for world, each in self.open.items()},
            "added": self.added,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.walks, self.added = list(state["walks"]), state["added"]
        self.open = {world: dict(each, states=list(each["states"])) for world, each in state["open"].items()}
        self.rng.bit_generator.state = state["rng"]
