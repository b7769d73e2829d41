"""Planning: world models (learned and analytic), objectives, search, optimal control and driving planners.

This module defines the contracts of the folder. From `envs` it imports only an environment's vocabulary (types, map
geometry, vehicle dynamics), never a simulator. A planner works with any model that has the same methods: a learned
latent model, a linear system, a kinematic bicycle, or a simulator through its snapshots.

Shapes: `*B` are batch axes (a planner adds one for candidates), T is imagined time. A state is a nested dict of
tensors, each (*B, ...); `embodia.planners.trees` and `embodia.planners.models.state` have its operations.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # planners on roads, and trees, need no torch
    from torch import Tensor

State = dict[str, Any]
"""A model's state: a nested dict of tensors (*B, ...). A simulator's has snapshots, an array of objects (B,)."""

Prediction = dict[str, "Tensor"]
"""What a model predicts from a state.

Keys in use: reward (*B,), cont (*B,), the probability in [0, 1] that the episode continues, tokens (*B, N, D), image,
state (*B, S). The predictions of a whole plan may also have `value` (B,), the return after the last state.
"""

Carry = dict[str, Any]
"""A planner's memory between two calls, such as a warm start. The caller stores it and passes it in again."""


@runtime_checkable
class WorldModel(Protocol):
    """A model of the environment's dynamics.

    A model implements the methods that it supports. A planner that needs more (gradients, derivatives) raises TypeError
    at the start. A model with a policy has two more methods: `value(state) -> (*B,)`, the expected return from the
    state on, too expensive for every prediction, and `propose(state, horizon, count) -> (B, count, H, A)`, the policy's
    plans.
    """

    def initial(self, n: int) -> State:
        """Return the state of n environments before the first observation."""

    def observe(self, state: State, obs: Mapping[str, Any], action: "Tensor", first: "Tensor") -> State:
        """Update the state with one observation.

        Args:
            state: State (*B, ...).
            obs: Observation, each key (*B, ...).
            action: The action (*B, A) that led to the observation.
            first: (*B,) True at the start of an episode, where state and action are ignored.
        """

    def imagine(self, state: State, action: "Tensor") -> State:
        """Predict the next state without an observation.

        Args:
            state: State (*B, ...).
            action: Continuous actions (*B, A) float, or discrete actions (*B,) int64.
        """

    def predict(self, state: State) -> Prediction:
        """Predict reward, continuation and other quantities of a state, each (*B, ...)."""

    def loss(self, batch: Mapping[str, Any]) -> "tuple[Tensor, dict[str, Tensor]]":
        """Compute the training loss of a learned model.

        Args:
            batch: Rows (T, B, ...) as in `agents.Row`.

        Returns:
            The scalar loss, and the values to log.

        Raises:
            TypeError: If the model has nothing to learn.
        """


@runtime_checkable
class Objective(Protocol):
    """Score of imagined futures; higher is better."""

    def __call__(self, futures: Prediction, actions: "Tensor") -> "Tensor":
        """Score plans.

        Args:
            futures: Predictions over time (*B, T, ...), and optionally `value` (*B,).
            actions: Actions (*B, T, A), or (*B, T) int64.

        Returns:
            Scores (*B,).
        """


@runtime_checkable
class Planner(Protocol):
    """Searches for the actions with the best imagined future."""

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> "tuple[Tensor, Carry]":
        """Plan from the current state.

        Args:
            model: Model to plan with.
            state: State (B, ...) of B environments.
            objective: Score to maximise.
            carry: Memory from the last call; {} at the start of an episode.

        Returns:
            The plan (B, H, A), or (B, H) int64 for discrete actions, first action first; and the new carry.

        Raises:
            TypeError: If the model or the objective lacks what the planner needs.
        """


@runtime_checkable
class DrivingPlanner(Protocol):
    """A planner for driving. `scene` and `Trajectory` (8 s of ego poses) are defined in `embodia.envs.driving.types`.

    A planner with weights is also an `nn.Module` and a learner: `loss(batch)` reads rows (B, ...) of drives, with the
    driving environment's observations and the expert's actions in `batch["extras"]["expert_action"]`.
    `agents.imitation.driver` trains it.
    """

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Any) -> Carry:
        """Prepare for a scenario; called once, without expert data.

        Args:
            route_roadblock_ids: Roadblocks of the route, in driving order.
            goal: Goal of the mission.
            map_api: Map of the scenario.

        Returns:
            The first carry.
        """

    def plan(self, scene: Any, carry: Carry) -> tuple[Any, Carry]:
        """Plan from the current scene.

        Args:
            scene: History, observed objects and traffic lights.
            carry: Memory from the last call.

        Returns:
            A Trajectory (8 s of ego poses) and the new carry.
        """


__all__ = ["Carry", "DrivingPlanner", "Objective", "Planner", "Prediction", "State", "WorldModel"]
