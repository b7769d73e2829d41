"""Roll a model forward under a plan."""

import torch
from torch import Tensor

from embodia.planners import Prediction, State, WorldModel
from embodia.planners.models.state import stack


def imagine_plan(model: WorldModel, state: State, actions: Tensor) -> Prediction:
    """Predict the futures of plans.

    Args:
        model: World model.
        state: Initial state (B, ...).
        actions: Plans (B, T, ...).

    Returns:
        Predictions after each action, (B, T, ...). A model with values adds `value` (B,) of the last state.
    """
    predictions = []
    for t in range(actions.shape[1]):
        state = model.imagine(state, actions[:, t])
        predictions.append(model.predict(state))
    futures = stack(predictions)
    return {**futures, "value": model.value(state)} if hasattr(model, "value") else futures


def world_noise(seed: int, calls: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal noise (B, *shape) that depends only on (seed, calls[b]).

    Planners keep no random generator. Their noise depends on the number of plans made for an environment, not on the
    other environments of the batch. Evaluations are therefore independent of the number of environments and resume
    exactly.
    """
    drawn: dict[int, Tensor] = {}
    for call in set(calls.tolist()):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + call) % 2**63)
        drawn[call] = torch.randn(shape, generator=generator, dtype=dtype)
    return torch.stack([drawn[call] for call in calls.tolist()]).to(calls.device)
