"""A simulator as a world model, through its exact snapshots: what MCTS and CEM search when they search the truth."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from embodia.planners import Prediction, State
from embodia.planners.trees import object_array


class Snapshots(Protocol):
    """What is asked of the simulator: Gymnasium's step and an exact `get_state` / `set_state`."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> Any: ...


class SnapshotModel:
    """State: {"snapshot": (B,) objects, "reward": (B,), "cont": (B,)}; nothing happens after an end.

    `observe` reads `obs["snapshot"]`, what the worlds acted in are at this moment, None where an episode is over.

    The simulator handed in is used as a scratch pad: give it one of its own, not the one the agent acts in.
    """

    needs_snapshot = True
    """Whoever observes for this model adds the worlds' snapshots to what they show."""

    def __init__(self, simulator: Snapshots):
        self.simulator = simulator

    def initial(self, n: int) -> State:
        """Worlds of which nothing is known; nothing happens in them."""
        return self.from_snapshots([None] * n)

    def from_snapshots(self, snapshots: Iterable[Any]) -> State:
        """The state of worlds whose snapshots are these, None for one whose episode is over."""
        held = object_array(snapshots)
        alive = torch.tensor([float(each is not None) for each in held])
        return {"snapshot": held, "reward": torch.zeros(len(held)), "cont": alive}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """The truth alone: nothing of the past is needed."""
        return self.from_snapshots(obs["snapshot"])

    def imagine(self, state: State, action: Tensor) -> State:
        snapshots, rewards, conts = [], [], []
        for snapshot, cont, chosen in zip(state["snapshot"], state["cont"].tolist(), action, strict=True):
            reward = 0.0
            if cont:
                self.simulator.set_state(snapshot)
                move = int(chosen) if chosen.ndim == 0 else chosen.detach().numpy()
                _, reward, terminated, truncated, _ = self.simulator.step(move)
                snapshot, cont = self.simulator.get_state(), float(not (terminated or truncated))
            snapshots.append(snapshot)
            rewards.append(float(reward))
            conts.append(cont)
        return {"snapshot": object_array(snapshots), "reward": torch.tensor(rewards), "cont": torch.tensor(conts)}

    def predict(self, state: State) -> Prediction:
        return {"reward": state["reward"], "cont": state["cont"]}

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError("a simulator is known exactly; there is nothing to learn")
