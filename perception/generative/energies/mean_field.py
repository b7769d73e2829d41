"""Mean-field variational inference: independent variables that are closest to a pairwise model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.energies.graphical_model import Marginals, PairwiseModel


@dataclass(frozen=True)
class MeanField(Marginals):
    """Independent marginals. Their `log_partition` is a lower bound on the exact one."""

    free_energies: tuple[float, ...]
    """Variational free energy after each sweep [nats]; it never rises."""


def mean_field(
    model: PairwiseModel, start: Tensor | None = None, sweeps: int = 500, tolerance: float = 1e-10
) -> MeanField:
    """Minimise the free energy F(q) = E_q[-log p~(x)] - H(q) >= -log Z, one variable at a time.

    Args:
        model: the model.
        start: marginals to start from, (N, K); uniform by default. The minimum found can depend on it.
        sweeps: at most so many passes over all variables.
        tolerance: stop when a sweep lowers the free energy by less [nats].
    """
    around = model.neighbours()
    q = torch.full_like(model.unary, 1 / model.unary.shape[1]) if start is None else start.clone()
    energies = [free_energy(model, q)]
    for _ in range(sweeps):
        for i, neighbours in enumerate(around):
            field = model.unary[i] + sum(table @ q[j] for j, table in neighbours)
            q[i] = field.softmax(0)
        energies.append(free_energy(model, q))
        if energies[-2] - energies[-1] < tolerance:
            break
    pairs = q[model.edges[:, 0], :, None] * q[model.edges[:, 1], None]
    return MeanField(q, pairs, -energies[-1], tuple(energies))


def free_energy(model: PairwiseModel, q: Tensor) -> float:
    """F(q) of independent marginals q (N, K) [nats]."""
    i, j = model.edges.T
    expected = (q * model.unary).sum() + torch.einsum("ea,eab,eb->", q[i], model.pairwise, q[j])
    return (torch.xlogy(q, q).sum() - expected).item()
