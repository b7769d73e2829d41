"""A simulator as a world model, through exact snapshots, for planning in the true environment."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from embodia.planners import Prediction, State
from embodia.planners.trees import object_array


class Snapshots(Protocol):
    """Methods that the simulator needs: Gymnasium's step and an exact `get_state` / `set_state`."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> Any: ...


class SnapshotModel:
    """World model that steps a simulator from snapshots. States after the end of an episode do not change.

    State: {"snapshot": (B,) objects, "reward": (B,), "cont": (B,)}. `observe` reads `obs["snapshot"]`, the current
    snapshots of the environments, None where an episode is over.

    Args:
        simulator: A simulator for planning only. It must not be the environment in which the agent acts.
    """

    needs_snapshot = True
    """Whether the agent must add the environments' snapshots to the observations."""

    def __init__(self, simulator: Snapshots):
        self.simulator = simulator

    def initial(self, n: int) -> State:
        """Return the state of n unknown environments, which never change."""
        return self.from_snapshots([None] * n)

    def from_snapshots(self, snapshots: Iterable[Any]) -> State:
        """Return the state of these snapshots; None marks an environment whose episode is over."""
        held = object_array(snapshots)
        alive = torch.tensor([float(each is not None) for each in held])
        return {"snapshot": held, "reward": torch.zeros(len(held)), "cont": alive}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """Return the state of the observed snapshots; the past is not needed."""
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
        raise TypeError("SnapshotModel has known dynamics; there is nothing to learn")
