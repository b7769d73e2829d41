"""What comes next: world models (learned and analytic), objectives, search, control, generative planners.

The promise of this folder. It imports no other folder but a world's vocabulary from `envs` (its types, map geometry,
vehicle dynamics), never a simulator. A planner does not know which model it plans in: a learned latent model, a
linear system, a kinematic bicycle and a simulator through its snapshots answer the same verbs.

Shapes: `*B` are batch axes (a planner adds one of candidates), T is imagined time. A state is a nested dict of
tensors, each (*B, ...); `embodia.planners.trees` and `embodia.planners.models.state` have what one does to it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # planners on roads, and trees, need no torch
    from torch import Tensor

State = dict[str, Any]
"""A model's state: a nested dict of tensors (*B, ...). A simulator's holds its snapshots, an array of objects (B,)."""

Prediction = dict[str, "Tensor"]
"""What a model says of a state. Names in use: reward (*B,), cont (*B,) in [0, 1], tokens (*B, N, D), image,
state (*B, S). A whole plan's may hold one `value` (B,) beside them: the return beyond its last state."""

Carry = dict[str, Any]
"""A planner's memory between two calls (a warm start, say). Handed in, taken back, never kept."""


@runtime_checkable
class WorldModel(Protocol):
    """Five verbs. A model offers what it can; a planner that needs more (gradients, derivatives) says so early.

    A model with a policy has two more: `value(state) -> (*B,)`, the return it expects from there on, which costs too
    much to be part of every prediction, and `propose(state, horizon, count) -> (B, count, H, A)`, plans to try.
    """

    def initial(self, n: int) -> State:
        """The state of n worlds before anything was observed."""

    def observe(self, state: State, obs: Mapping[str, Any], action: "Tensor", first: "Tensor") -> State:
        """Fold in one observation. `action` (*B, A) led to it; where `first` (*B,) is set, both are forgotten."""

    def imagine(self, state: State, action: "Tensor") -> State:
        """One step ahead without an observation. action (*B, A) floats, or (*B,) int64 where actions are discrete."""

    def predict(self, state: State) -> Prediction: ...

    def loss(self, batch: Mapping[str, Any]) -> "tuple[Tensor, dict[str, Tensor]]":
        """For learned models: `batch` is rows (T, B, ...) as `agents.Row`; scalar loss and the numbers to log."""


@runtime_checkable
class Objective(Protocol):
    """Scores imagined futures; higher is better."""

    def __call__(self, futures: Prediction, actions: "Tensor") -> "Tensor":
        """futures: predictions (*B, T, ...) over time, and `value` (*B,) if any; actions (*B, T, A) -> score (*B,)."""


@runtime_checkable
class Planner(Protocol):
    """Searches a model for the actions with the best imagined future."""

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> "tuple[Tensor, Carry]":
        """state (B, ...) -> actions (B, H, A): the whole plan, first action first. `carry` is {} at the start."""


@runtime_checkable
class DrivingPlanner(Protocol):
    """A planner on roads. `scene` and `Trajectory` (8 s of ego poses) come from `embodia.envs.driving.types`.

    One with weights is an `nn.Module` and a learner too: `loss(batch)` reads rows (B, ...) of drives, observations as
    the roads show them, and `batch["extras"]["expert_action"]`, what the expert did there. `agents.imitation.driver`
    trains it.
    """

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        """Once per scenario; no expert data."""

    def plan(self, scene: Any, carry: Carry) -> tuple[Any, Carry]:
        """scene (history, observation, traffic lights) -> (Trajectory, carry)."""


__all__ = ["Carry", "DrivingPlanner", "Objective", "Planner", "Prediction", "State", "WorldModel"]
