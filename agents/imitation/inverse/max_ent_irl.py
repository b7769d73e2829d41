"""Maximum entropy inverse reinforcement learning (Ziebart et al. 2008; Ziebart 2010, causal entropy).

The expert's walks have probability proportional to exp(return), for stochastic dynamics in the causal sense: the policy
is pi_t(a | s) = exp(Q_t(s, a) - V_t(s)) with the soft Bellman equation

    Q_t(s, a) = r(s, a) + sum_s' p(s' | s, a) V_{t+1}(s'),    V_t(s) = log sum_a exp Q_t(s, a).

The gradient of the demonstrations' log-likelihood with respect to the reward is the expert's visits minus the visits
that this policy expects. All functions work on W worlds at once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from embodia.agents.imitation.inverse.dynamics import Dynamics

NEVER = -1e6
"""Value of a state from which the end was not reached in time."""


def soft_plan(reward: Tensor, dynamics: Dynamics, horizon: int, ends: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Solve the soft Bellman equation backwards in time.

    Args:
        reward: rewards of a step (W, S, A), or (W, S, 1) if they do not depend on the action.
        dynamics: the transitions of all worlds.
        horizon: number of steps of a walk.
        ends: (W, S) bool, states in which a walk ends; walks must end in one within the horizon. None for walks of
            exactly `horizon` steps.

    Returns:
        V_0 (W, S), and log pi_t(a | s) for all times (horizon, W, S, A).

    Raises:
        ValueError: if the rewards are of the wrong shape or not finite.
    """
    check_reward(reward, dynamics)
    probability = dynamics.probability.to(reward.dtype)
    value = reward.new_zeros(reward.shape[:2]) if ends is None else torch.where(ends, 0.0, reward.new_tensor(NEVER))
    steps = []
    for _ in range(horizon):
        q = reward + expected_value(value, dynamics.outcome, probability)
        value = q.logsumexp(-1)
        steps.append(q - value[..., None])
        if ends is not None:
            value = torch.where(ends, 0.0, value)
    return value, torch.stack(steps[::-1])


def expected_value(value: Tensor, outcome: Tensor, probability: Tensor) -> Tensor:
    """Return the expected value after each state and action, (W, S, A), for values (W, S)."""
    following = value.index_select(1, outcome.flatten()).view(len(value), *outcome.shape)
    return following[..., 0] if outcome.shape[-1] == 1 else torch.einsum("wsak,sak->wsa", following, probability)


def greedy_plan(reward: Tensor, dynamics: Dynamics, horizon: int) -> Tensor:
    """Return the best actions (horizon, W, S) for walks of `horizon` steps with rewards (W, S, A) or (W, S, 1)."""
    check_reward(reward, dynamics)
    probability = dynamics.probability.to(reward.dtype)
    value, steps = reward.new_zeros(reward.shape[:2]), []
    for _ in range(horizon):
        q = reward + expected_value(value, dynamics.outcome, probability)
        value, action = q.max(-1)
        steps.append(action)
    return torch.stack(steps[::-1])


def expected_visits(policy: Tensor, dynamics: Dynamics, start: Tensor, ends: Tensor | None = None) -> Tensor:
    """Return how often a policy is expected to visit each state and action, (W, S, A).

    Args:
        policy: probabilities of actions (T, W, S, A).
        dynamics: the transitions.
        start: distribution of the first state (W, S).
        ends: (W, S) bool, states in which a walk ends.
    """
    _, worlds, states, _ = policy.shape
    target = dynamics.outcome.flatten()
    probability = dynamics.probability.to(policy.dtype)
    here, visits = start, policy.new_zeros(policy.shape[1:])
    for step in policy:
        if ends is not None:
            here = here * ~ends
        visit = here[..., None] * step
        visits += visit
        flow = (visit[..., None] * probability).view(worlds, -1)
        here = policy.new_zeros(worlds, states).index_add_(1, target, flow)
    return visits


def check_reward(reward: Tensor, dynamics: Dynamics) -> None:
    """Raise ValueError if rewards are not (W, S, A) or (W, S, 1), or not finite."""
    states, actions = dynamics.outcome.shape[:2]
    if reward.ndim != 3 or reward.shape[1] != states or reward.shape[2] not in (1, actions):
        raise ValueError(
            f"rewards have shape {tuple(reward.shape)}; give (worlds, {states}, {actions}) for {states} states and "
            f"{actions} actions, or (worlds, {states}, 1)"
        )
    if not bool(torch.isfinite(reward).all()):
        world, state, _ = torch.isfinite(reward).logical_not().nonzero()[0].tolist()
        value = reward[world, state].tolist()
        raise ValueError(f"the reward of state {state} in world {world} is {value}; rewards must be finite")


def max_ent_loss(
    reward: Tensor, visits: Tensor, dynamics: Dynamics, start: Tensor, horizon: int, ends: Tensor | None = None
) -> Tensor:
    """Return the demonstrations' negative log-likelihood (W,), up to a constant; its gradient is that of the reward.

    Args:
        reward: (W, S, A) or (W, S, 1).
        visits: the expert's mean visits of a walk (W, S, A).
        dynamics, horizon, ends: as in `soft_plan`.
        start: distribution of the first state (W, S).
    """
    with torch.no_grad():
        value, log_policy = soft_plan(reward, dynamics, horizon, ends)
        expected = expected_visits(log_policy.exp(), dynamics, start, ends)
        loss = (start * value).sum(-1) - (visits * reward).sum((1, 2))
    # The loss has this gradient; the dynamic program itself needs no autograd.
    surrogate = ((expected - visits) * reward).sum((1, 2))
    return loss + surrogate - surrogate.detach()


class MaxEntIRL(nn.Module):
    """MaxEnt IRL as a learner: fits a reward to visits, by `agents.training.fit`.

    Args:
        reward: maps features to rewards (W, S, A) or (W, S, 1): `LinearReward`, or any network.
        dynamics: the transitions.
        horizon: number of steps of a walk.
        l2: weight of the squared weights, a Gaussian prior.
    """

    def __init__(self, reward: nn.Module, dynamics: Dynamics, horizon: int, l2: float = 0.0):
        super().__init__()
        self.reward, self.dynamics, self.horizon, self.l2 = reward, dynamics, horizon, l2

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take {"features", "visits" (W, S, A), "start" (W, S)} and optionally "ends" (W, S)."""
        reward = self.reward(batch["features"])
        losses = max_ent_loss(reward, batch["visits"], self.dynamics, batch["start"], self.horizon, batch.get("ends"))
        prior = sum((weight.square().sum() for weight in self.parameters()), torch.zeros(()))
        return losses.sum() + self.l2 * prior, {"nats": losses.mean()}


class LinearReward(nn.Module):
    """Rewards linear in features, with weights of its own for each of W worlds: (W, S, F) -> (W, S, 1)."""

    def __init__(self, worlds: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(worlds, features))

    def forward(self, features: Tensor) -> Tensor:
        return torch.einsum("wsf,wf->ws", features, self.weight)[..., None]
