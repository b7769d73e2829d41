"""MaxEnt IRL on worlds of random terrain: the value lost under the learned reward, and its correlation with the truth.

Set-up: 10 x 10 cells, five moves with 10 % slip, one of five terrains per cell, weights N(0, 1), walks of 30 steps.
"""

import torch
from torch import Tensor

from embodia.agents.imitation.inverse.dynamics import slippery_cells
from embodia.agents.imitation.inverse.max_ent_irl import (
    LinearReward,
    MaxEntIRL,
    expected_visits,
    greedy_plan,
    soft_plan,
)
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded

SIDE, TERRAINS, HORIZON, WORLDS = 10, 5, 30, 10
DEMONSTRATIONS = (16, 64, 256)
DYNAMICS = slippery_cells(SIDE, SIDE, 0.1)
STATES = SIDE**2


def max_ent(seed: int, budget: Budget) -> Numbers:
    """Ten worlds at once, each with 16, 64 and 256 demonstrations of the soft-optimal expert."""
    generator = seeded(seed)
    terrain = torch.randint(TERRAINS, (WORLDS, STATES), generator=generator)
    features = torch.eye(TERRAINS)[terrain]
    truth = torch.einsum("wsf,wf->ws", features, torch.randn(WORLDS, TERRAINS, generator=generator))[..., None]
    walks = demonstrate(soft_plan(truth, DYNAMICS, HORIZON)[1].exp(), max(DEMONSTRATIONS), generator)
    visits, start = (torch.cat(each) for each in zip(*(counted(walks, n) for n in DEMONSTRATIONS)))
    repeated = features.repeat(len(DEMONSTRATIONS), 1, 1)
    learner = MaxEntIRL(LinearReward(len(repeated), TERRAINS), DYNAMICS, HORIZON)
    batch = {"features": repeated, "visits": visits, "start": start}
    config = FitConfig(steps=budget.steps(100), learning_rate=0.1, warmup=1, weight_decay=0.0, clip=None, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: batch), config, logger=Logger(console=False))
    with torch.no_grad():
        found = learner.reward(repeated)
        seen = torch.einsum("wsa,wsf->wf", visits, repeated)
        policy = soft_plan(found, DYNAMICS, HORIZON)[1].exp()
        expected = torch.einsum("wsa,wsf->wf", expected_visits(policy, DYNAMICS, start), repeated)
    mismatch = ((expected - seen).norm(dim=1) / seen.norm(dim=1)).view(len(DEMONSTRATIONS), WORLDS)
    numbers: Numbers = {}
    for n, reward, shown, gap in zip(DEMONSTRATIONS, found.split(WORLDS), visits.split(WORLDS), mismatch):
        lost = value_difference(reward, truth)
        numbers[f"{n} demonstrations"] = lost.tolist()
        numbers[f"correlation, {n}"] = correlation(reward, truth).tolist()
        numbers[f"feature mismatch, {n}"] = gap.tolist()
        if n == 64:
            # Control: where the expert goes more often than a random walk would, without a model of the decisions.
            excess = torch.einsum("wsa,wsf->wf", shown - wandering(shown.shape[0]), features)
            naive = torch.einsum("wsf,wf->ws", features, excess)[..., None]
            numbers["visits as reward"] = value_difference(naive, truth).tolist()
            numbers["correlation, visits as reward"] = correlation(naive, truth).tolist()
    budget.keep(f"max-ent-{seed}", truth=truth[:4, :, 0].view(4, SIDE, SIDE), **{
        f"learned_{n}": reward[:4, :, 0].view(4, SIDE, SIDE) for n, reward in zip(DEMONSTRATIONS, found.split(WORLDS))
    })  # fmt: skip
    return numbers


def demonstrate(policy: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Sample n walks of a policy (T, W, S, A) in each world: states and actions (2, T, W, n), from uniform starts."""
    worlds = torch.arange(policy.shape[1])[:, None]
    state = torch.randint(STATES, (len(worlds), n), generator=generator)
    rows = []
    for step in policy:
        action = torch.multinomial(step[worlds, state].flatten(0, 1), 1, generator=generator).view(state.shape)
        rows.append(torch.stack([state, action]))
        chances = DYNAMICS.probability[state, action].flatten(0, 1)
        which = torch.multinomial(chances, 1, generator=generator).view(*state.shape, 1)
        state = DYNAMICS.outcome[state, action].gather(-1, which)[..., 0]
    return torch.stack(rows, 1)


def counted(walks: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return mean visits (W, S, A) and the distribution of starts (W, S) of the first n walks of each world."""
    states, actions = walks[..., :n]
    worlds, count = states.shape[1], DYNAMICS.outcome.shape[1]
    flat = (states * count + actions).permute(1, 0, 2).flatten(1)
    visits = torch.zeros(worlds, STATES * count).scatter_add_(1, flat, torch.full(flat.shape, 1 / n))
    start = torch.zeros(worlds, STATES).scatter_add_(1, states[0], torch.full(states[0].shape, 1 / n))
    return visits.view(worlds, STATES, count), start


def wandering(worlds: int) -> Tensor:
    """Return the expected visits (W, S, A) of uniformly random actions from uniform starts."""
    actions = DYNAMICS.outcome.shape[1]
    policy = torch.full((HORIZON, worlds, STATES, actions), 1 / actions)
    return expected_visits(policy, DYNAMICS, torch.full((worlds, STATES), 1 / STATES))


def value_difference(reward: Tensor, truth: Tensor) -> Tensor:
    """Return (V* - V) / (V* - V random) in each world, V being the true value of the reward's greedy policy."""
    start = torch.full((len(truth), STATES), 1 / STATES)

    def value(plan: Tensor) -> Tensor:
        policy = torch.nn.functional.one_hot(plan, DYNAMICS.outcome.shape[1]).float()
        return (expected_visits(policy, DYNAMICS, start) * truth).sum((1, 2))

    best = value(greedy_plan(truth, DYNAMICS, HORIZON))
    random = (wandering(len(truth)) * truth).sum((1, 2))
    return (best - value(greedy_plan(reward, DYNAMICS, HORIZON))) / (best - random)


def correlation(reward: Tensor, truth: Tensor) -> Tensor:
    """Return the correlation of the rewards of the states in each world."""
    a, b = (each[..., 0] - each[..., 0].mean(1, keepdim=True) for each in (reward, truth))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
