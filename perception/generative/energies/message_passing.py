"""Belief propagation (sum-product): exact on a tree, an approximation on a graph with cycles (Pearl 1988)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.energies.graphical_model import Marginals, PairwiseModel


@dataclass(frozen=True)
class Beliefs(Marginals):
    """Beliefs at the fixed point. Their `log_partition` is minus the Bethe free energy."""

    converged: bool
    """Whether the messages stopped changing."""
    rounds: int
    """Number of rounds of messages."""


def belief_propagation(
    model: PairwiseModel, rounds: int = 1000, damping: float = 0.0, tolerance: float = 1e-9
) -> Beliefs:
    """Pass messages along all edges at once until they stop changing.

    Args:
        model: the model.
        rounds: at most so many. On a tree, as many as its longest path is enough.
        damping: share of the old message kept, from 0 to below 1; helps on cycles.
        tolerance: largest change of a log message at which to stop.

    Raises:
        ValueError: if damping is not from 0 to below 1.
    """
    if not 0 <= damping < 1:
        raise ValueError(f"damping is {damping}; give a number from 0 to below 1")
    e = len(model.edges)
    source, target = torch.cat([model.edges, model.edges.flip(1)]).T
    tables = torch.cat([model.pairwise, model.pairwise.mT])  # (2E, value of source, value of target)
    back = torch.arange(2 * e).roll(e)  # index of the message in the other direction
    messages = torch.zeros(2 * e, model.unary.shape[1], dtype=model.unary.dtype)
    change, done = torch.inf, 0
    while done < rounds and change > tolerance:
        heard = collected(model, messages, target)[source] - messages[back]
        new = (heard[:, :, None] + tables).logsumexp(1).log_softmax(1)
        new = damping * messages + (1 - damping) * new
        change = (new - messages).abs().max().item() if e else 0.0
        messages, done = new, done + 1
    belief = collected(model, messages, target)
    outside = belief[source] - messages[back]
    pairs = outside[:e, :, None] + model.pairwise + outside[e:, None]
    single, pairs = belief.softmax(1), pairs.flatten(1).softmax(1).view_as(model.pairwise)
    return Beliefs(single, pairs, bethe(model, single, pairs), change <= tolerance, done)


def collected(model: PairwiseModel, messages: Tensor, target: Tensor) -> Tensor:
    """Unary log potentials plus all messages that arrive, (N, K)."""
    return model.unary.index_add(0, target, messages)


def bethe(model: PairwiseModel, single: Tensor, pairs: Tensor) -> float:
    """Minus the Bethe free energy: mean log potential, plus entropies in which each variable counts once."""
    degree = torch.bincount(model.edges.flatten(), minlength=len(single))
    expected = (single * model.unary).sum() + (pairs * model.pairwise).sum()
    entropy = -torch.xlogy(pairs, pairs).sum() + ((degree - 1) * torch.xlogy(single, single).sum(1)).sum()
    return (expected + entropy).item()
