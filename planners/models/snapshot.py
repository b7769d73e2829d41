"""A simulator as a world model, through its exact snapshots: what MCTS and CEM search when they search the truth."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from embodia.planners import Prediction, State


class Snapshots(Protocol):
    """What is asked of the simulator: Gymnasium's step and an exact `get_state` / `set_state`."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> Any: ...


class SnapshotModel:
    """State: {"snapshot": B snapshots, "reward": (B,), "cont": (B,)}; nothing happens after an end.

    The simulator handed in is used as a scratch pad: give it one of its own, not the one the agent acts in.
    """

    def __init__(self, simulator: Snapshots):
        self.simulator = simulator

    def initial(self, n: int) -> State:
        return self.from_snapshots([self.simulator.get_state() for _ in range(n)])

    def from_snapshots(self, snapshots: list[Any]) -> State:
        """The state of worlds whose snapshots are these."""
        n = len(snapshots)
        return {"snapshot": list(snapshots), "reward": torch.zeros(n), "cont": torch.ones(n)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """The truth is the observation: `obs["snapshot"]`, B snapshots of the worlds acted in, None for ended ones."""
        seen = self.from_snapshots(list(obs["snapshot"]))
        return {**seen, "cont": torch.tensor([float(each is not None) for each in obs["snapshot"]])}

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
        return {"snapshot": snapshots, "reward": torch.tensor(rewards), "cont": torch.tensor(conts)}

    def predict(self, state: State) -> Prediction:
        return {"reward": state["reward"], "cont": state["cont"]}

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError("a simulator is known exactly; there is nothing to learn")
