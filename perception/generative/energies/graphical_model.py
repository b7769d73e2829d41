"""A small undirected graphical model of discrete variables with pairwise terms, and its exact answers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.energies.enumeration import all_states
from embodia.perception.generative.mcmc.gibbs import Update
from embodia.perception.generative.noise import uniform


@dataclass(frozen=True)
class PairwiseModel:
    """p(x) = exp(sum_i unary[i, x_i] + sum_e pairwise[e, x_i, x_j]) / Z, with e = (i, j) an edge.

    Raises:
        ValueError: if the shapes do not fit, an edge does not join two variables, or a potential is not finite.
    """

    unary: Tensor
    """Log potentials of N variables with K values each, (N, K)."""
    edges: Tensor
    """Pairs of variables, int64 (E, 2)."""
    pairwise: Tensor
    """Log potentials of the edges, (E, K, K)."""

    def __post_init__(self) -> None:
        n, k = self.unary.shape
        shapes = tuple(self.edges.shape), tuple(self.pairwise.shape)
        e = len(self.edges)
        if shapes != ((e, 2), (e, k, k)):
            raise ValueError(
                f"edges {shapes[0]} and pairwise {shapes[1]} do not fit unary ({n}, {k}); give (E, 2) and (E, {k}, {k})"
            )
        loops = (self.edges[:, 0] == self.edges[:, 1]).any()
        if e and (self.edges.min() < 0 or self.edges.max() >= n or loops):
            raise ValueError(f"each edge must join two different variables of 0 to {n - 1}")
        if not (torch.isfinite(self.unary).all() and torch.isfinite(self.pairwise).all()):
            raise ValueError("unary and pairwise log potentials must be finite")

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of states int64 (B, N) without log Z, (B,)."""
        i, j = self.edges.T
        own = self.unary[torch.arange(len(self.unary)), x].sum(1)
        return own + self.pairwise[torch.arange(len(self.edges)), x[:, i], x[:, j]].sum(1)

    def neighbours(self) -> list[list[tuple[int, Tensor]]]:
        """Of each variable i: its neighbours j, and the log potential as (value of i, value of j)."""
        found: list[list[tuple[int, Tensor]]] = [[] for _ in self.unary]
        for (i, j), table in zip(self.edges.tolist(), self.pairwise):
            found[i].append((j, table))
            found[j].append((i, table.T))
        return found

    def gibbs_updates(self) -> list[Update]:
        """For `mcmc.gibbs.Gibbs`: each variable given its neighbours, on states int64 (C, N)."""
        around = self.neighbours()

        def update(i: int) -> Update:
            def sampled(x: Tensor, generator: torch.Generator | None) -> Tensor:
                logits = self.unary[i] + sum(table[:, x[:, j]].T for j, table in around[i])
                below = logits.softmax(-1).expand(len(x), -1).cumsum(1)
                value = (uniform((len(x), 1), generator, x.device) > below[:, :-1]).sum(1)
                return x.index_copy(1, torch.tensor([i], device=x.device), value[:, None])

            return sampled

        return [update(i) for i in range(len(self.unary))]


@dataclass(frozen=True)
class Marginals:
    """What an inference method says about a pairwise model."""

    single: Tensor
    """Probability of each value of each variable, (N, K)."""
    pairs: Tensor
    """Joint probabilities at the edges, (E, K, K)."""
    log_partition: float
    """log Z, or the method's approximation of it."""


def enumerated(model: PairwiseModel) -> Marginals:
    """Exact marginals and log Z, by a sum over all states.

    Raises:
        ValueError: if there are more than 2^20 states.
    """
    (n, k), e = model.unary.shape, len(model.edges)
    states = torch.cat(list(all_states(n, k, model.unary.device)))
    log_prob = model.log_prob(states)
    log_partition = log_prob.logsumexp(0)
    p = (log_prob - log_partition).exp()
    single = torch.stack([p.new_zeros(k).index_add(0, states[:, i], p) for i in range(n)])
    both = [states[:, i] * k + states[:, j] for i, j in model.edges.tolist()]
    pairs = [p.new_zeros(k * k).index_add(0, each, p).view(k, k) for each in both]
    return Marginals(single, torch.stack(pairs) if e else p.new_zeros(0, k, k), log_partition.item())


def ising(rows: int, columns: int, coupling: Tensor | float, field: Tensor | float = 0.0) -> PairwiseModel:
    """An Ising model on a grid, in double precision: values 0 and 1 are spins -1 and +1.

    Args:
        rows: of the grid.
        columns: of the grid.
        coupling: log potential of equal neighbouring spins; minus it is that of different ones. A number or one per
            edge, (E,): first the edges along the rows, then those along the columns.
        field: log potential of spin +1, a number or (rows * columns,).
    """
    index = torch.arange(rows * columns).view(rows, columns)
    along, across = (index[:, :-1], index[:, 1:]), (index[:-1], index[1:])
    edges = torch.cat([torch.stack([a.flatten(), b.flatten()], 1) for a, b in (along, across)])
    spins = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    strength = torch.as_tensor(coupling, dtype=torch.float64).expand(len(edges))
    fields = torch.as_tensor(field, dtype=torch.float64).expand(rows * columns)
    return PairwiseModel(fields[:, None] * spins, edges, strength[:, None, None] * torch.outer(spins, spins))
