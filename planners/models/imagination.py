"""Roll a model forward under a plan: the one place where a planner touches a model."""

import torch
from torch import Tensor

from embodia.planners import Prediction, State, WorldModel
from embodia.planners.models.state import stack


def imagine_plan(model: WorldModel, state: State, actions: Tensor) -> Prediction:
    """Predictions after each of the plan's actions. state (B, ...), actions (B, T, ...) -> each (B, T, ...).

    A model that knows values adds that of the last state, `value` (B,).
    """
    predictions = []
    for t in range(actions.shape[1]):
        state = model.imagine(state, actions[:, t])
        predictions.append(model.predict(state))
    futures = stack(predictions)
    return {**futures, "value": model.value(state)} if hasattr(model, "value") else futures


def world_noise(seed: int, calls: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal noise (B, *shape), a function of (seed, calls[b]) alone.

    A planner keeps no generator: its draws depend on how often it planned for that world, not on which other worlds
    are planned beside it, so an evaluation does not change with the number of worlds, and resumes exactly.
    """
    drawn: dict[int, Tensor] = {}
    for call in set(calls.tolist()):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + call) % 2**63)
        drawn[call] = torch.randn(shape, generator=generator, dtype=dtype)
    return torch.stack([drawn[call] for call in calls.tolist()]).to(calls.device)
