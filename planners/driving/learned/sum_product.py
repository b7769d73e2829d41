"""Loopy sum-product on a fully connected graph: approximate marginals of a discrete energy."""

import itertools

import torch
from torch import Tensor


def sum_product(unary: Tensor, pairwise: Tensor, rounds: int = 5, damping: float = 0.5) -> Tensor:
    """Return log-marginals (N, M, K) of p(x) ~ exp(-sum_i unary_i(x_i) - sum_{i<j} pairwise_ij(x_i, x_j)).

    All messages are updated at once; a new message is the mean of the old and the computed one, in logarithms, with
    weight `damping` on the old one, without which messages may oscillate.

    Args:
        unary: energies (N, M, K) of M variables with K values each; infinite for a value that is impossible.
        pairwise: energies (N, M, M, K, K), with pairwise[n, i, j, a, b] = pairwise[n, j, i, b, a]; i = j is not read.
        rounds: updates of all messages.
        damping: at least 0, below 1.

    Source: Pearl 1988; in driving DSDNet (Zeng et al. 2020), section 3.2.
    """
    n, m, k = unary.shape
    others = ~torch.eye(m, dtype=torch.bool, device=unary.device)
    messages = unary.new_zeros(n, m, m, k)  # [n, i, j]: what i tells j of j's value
    for _ in range(rounds):
        belief = -unary + (messages * others[..., None]).sum(1)  # (N, M, K)
        without = belief[:, :, None] - messages.transpose(1, 2)  # [n, i, j]: i's belief but for what j told it
        new = torch.logsumexp(without[..., None] - pairwise, 3)
        new = new - torch.logsumexp(new, -1, keepdim=True)
        messages = damping * messages + (1 - damping) * new
    belief = -unary + (messages * others[..., None]).sum(1)
    return torch.log_softmax(belief, -1)


def enumerated(unary: Tensor, pairwise: Tensor) -> Tensor:
    """Return the exact marginals (N, M, K) by summing over all K^M assignments, for small problems."""
    n, m, k = unary.shape
    energy = unary.new_zeros(n, *[k] * m)
    for i in range(m):
        energy = energy + unary[:, i].view(n, *[k if axis == i else 1 for axis in range(m)])
    for i, j in itertools.combinations(range(m), 2):
        shape = [k if axis in (i, j) else 1 for axis in range(m)]
        energy = energy + pairwise[:, i, j].reshape(n, *shape)
    joint = torch.softmax(-energy.flatten(1), -1).view_as(energy)
    axes = [tuple(axis + 1 for axis in range(m) if axis != i) for i in range(m)]
    return torch.stack([joint.sum(axis) if axis else joint for axis in axes], 1)
