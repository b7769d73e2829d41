"""Fixed points z = F(z) with four backward passes (Almeida 1987; Pineda 1987; Liao et al. 2018, "Reviving and Improving
Recurrent Back-Propagation"; Bai et al. 2019, "Deep Equilibrium Models").

The gradient of a loss L is dL/dw = (dL/dz) (I - dF/dz)^-1 dF/dw at the fixed point. Unrolled and truncated backward
passes go through the last iterations, whose values they keep. The implicit ones solve the linear system by products
with the Jacobian at the fixed point, so their memory does not depend on the number of iterations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
Backward = Literal["unrolled", "truncated", "neumann", "cg", "gmres"]


class NotContraction(RuntimeError):
    """The map is no contraction around the point, or so weak a one that the iterations do not suffice."""


@dataclass(frozen=True)
class FixedPointConfig:
    """How a fixed point is found and differentiated."""

    backward: Backward = "gmres"
    """Backward pass: through all iterations (unrolled) or the last ones (truncated), by the Neumann series, by
    conjugate gradients on the normal equations, or by GMRES."""
    tolerance: float = 1e-10
    """Norm of the last change at convergence, relative to that of the point; that of the linear system, too."""
    limit: int = 1000
    """Maximum number of iterations."""
    terms: int | None = None
    """Number of iterations that truncated goes back through, or of terms of the Neumann series. None goes on to the
    tolerance, which truncated does not allow."""
    backward_limit: int = 1000
    """Maximum number of products with the Jacobian in the backward pass."""

    def __post_init__(self) -> None:
        if self.backward == "truncated" and self.terms is None:
            raise ValueError("truncated needs `terms`, the number of iterations to go back through")
        if self.terms is not None and self.terms < 1:
            raise ValueError(f"terms is {self.terms}; it is at least 1")


def fixed_point(function: Map, start: Tensor, config: FixedPointConfig | None = None) -> Tensor:
    """Return z (*B, ...) with z = function(z), with gradients for everything that `function` depends on.

    Args:
        function: The map, differentiable. It may use tensors and modules that require a gradient. For `cg` it is
            differentiable twice.
        start: First z; it gets a gradient only from the unrolled and truncated backward passes.
        config: How the fixed point is found and differentiated.

    Raises:
        NotContraction: If the iterations, or later the backward pass, do not converge.
        ValueError: If `function` returns another shape than it is given.
    """
    config = config or FixedPointConfig()
    if config.backward == "unrolled":
        return iterate(function, start, config)
    with torch.no_grad():
        z = iterate(function, start, config)
    if config.backward == "truncated":
        assert config.terms is not None
        for _ in range(config.terms):
            z = function(z)
        return z
    found = function(z.detach())
    if found.requires_grad:
        found.register_hook(lambda gradient: solve(function, z.detach(), gradient, config))
    return found


def iterate(function: Map, z: Tensor, config: FixedPointConfig) -> Tensor:
    """Apply the map until the point no longer changes.

    Raises:
        NotContraction: If it still changes after `config.limit` iterations, or is not finite.
        ValueError: If the map changes the shape.
    """
    changes = [torch.inf]
    for _ in range(config.limit):
        after = function(z)
        if after.shape != z.shape:
            raise ValueError(f"the map returns {tuple(after.shape)} for {tuple(z.shape)}; both shapes must be the same")
        changes.append(float((after - z).detach().norm()))
        scale = float(after.detach().norm())
        z = after
        if not scale < torch.inf:
            break
        if changes[-1] <= config.tolerance * (1 + scale):
            return z
    raise NotContraction(
        f"the point still changes by {changes[-1]:.3g} after {len(changes) - 1} iterations ({verdict(changes)}); scale "
        "the map so that it contracts, start nearer, or raise `limit`"
    )


def verdict(changes: list[float]) -> str:
    """Return the factor by which the last changes shrank per iteration, and what follows from it."""
    last = changes[-11:] if len(changes) > 11 else changes[1:]
    if len(last) < 2 or not changes[-1] < torch.inf:
        return "it is not finite or there was one iteration only"
    rate = (last[-1] / last[0]) ** (1 / (len(last) - 1))
    kind = "the map is no contraction here" if rate > 1 - 1e-6 else "the map contracts slowly"
    return f"factor {rate:.4g} per iteration: {kind}"


# Backward passes ----------------------------------------------------------------------------------------------------


def solve(function: Map, z: Tensor, gradient: Tensor, config: FixedPointConfig) -> Tensor:
    """Return w with (I - J') w = gradient, where J is the Jacobian of the map at z."""
    with torch.enable_grad():
        point = z.requires_grad_()
        value = function(point)
        if not value.requires_grad:  # a constant map: J = 0
            return gradient

        def transposed(w: Tensor) -> Tensor:
            """Return J'w."""
            (found,) = torch.autograd.grad(value, point, w, retain_graph=True, allow_unused=True)
            return torch.zeros_like(w) if found is None else found

        if config.backward == "cg":
            return conjugate_gradients(transposed, value, point, gradient, config)
    solver = neumann if config.backward == "neumann" else gmres
    return solver(transposed, gradient, config)


def neumann(transposed: Map, gradient: Tensor, config: FixedPointConfig) -> Tensor:
    """Sum (J')^i gradient for i = 0, 1, ... Its error after k terms falls like the contraction rate to the k."""
    total, term = gradient, gradient
    size = float(gradient.norm())
    changes = [torch.inf, size]
    for _ in range((config.terms or config.backward_limit) - 1):
        term = transposed(term)
        total = total + term
        changes.append(float(term.norm()))
        if changes[-1] <= config.tolerance * size:
            return total
    if config.terms is not None and not changes[-1] > size:
        return total
    raise NotContraction(
        f"the Neumann series of the backward pass does not converge: its last of {len(changes) - 1} terms is "
        f"{changes[-1]:.3g} and the first {size:.3g} ({verdict(changes)}); scale the map so that it contracts, or use "
        "backward='gmres'"
    )


def conjugate_gradients(
    transposed: Map, value: Tensor, point: Tensor, gradient: Tensor, config: FixedPointConfig
) -> Tensor:
    """Solve the normal equations (I - J)(I - J') w = (I - J) gradient by conjugate gradients (CGNR)."""
    dummy = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, point, dummy, create_graph=True, allow_unused=True)
    if pulled is None or not pulled.requires_grad:
        return gradient

    def forward(v: Tensor) -> Tensor:
        """Return J v: `pulled` = J' dummy is linear in dummy."""
        (found,) = torch.autograd.grad(pulled, dummy, v, retain_graph=True)
        return found

    w, residual = torch.zeros_like(gradient), gradient
    slope = residual - forward(residual)
    direction, square = slope, slope.square().sum()
    size = gradient.norm()
    for _ in range(config.backward_limit):
        if bool(residual.norm() <= config.tolerance * size):
            return w
        image = direction - transposed(direction)
        step = square / image.square().sum()
        w, residual = w + step * direction, residual - step * image
        slope = residual - forward(residual)
        before, square = square, slope.square().sum()
        direction = slope + square / before * direction
    raise unsolved("conjugate gradients", config.backward_limit, float(residual.norm() / size))


def gmres(transposed: Map, gradient: Tensor, config: FixedPointConfig, restart: int = 40) -> Tensor:
    """Solve (I - J') w = gradient by restarted GMRES (Saad & Schultz 1986)."""
    w, size = torch.zeros_like(gradient), gradient.norm()
    products, residual = 0, gradient
    while bool(residual.norm() > config.tolerance * size):
        if products >= config.backward_limit:
            raise unsolved("GMRES", products, float(residual.norm() / size))
        change, used = krylov(transposed, residual, min(restart, residual.numel()), config.tolerance * size)
        w, products = w + change, products + used
        residual = gradient - (w - transposed(w))
    return w


def krylov(transposed: Map, residual: Tensor, most: int, enough: Tensor) -> tuple[Tensor, int]:
    """Return the correction of smallest residual in a Krylov space of at most `most` vectors, and their number."""
    norm = residual.norm()
    basis = [residual / norm]
    columns: list[Tensor] = []
    for j in range(most):
        vector = basis[j] - transposed(basis[j])
        span = torch.stack(basis).flatten(1)
        column = torch.zeros(most + 1, dtype=vector.dtype, device=vector.device)
        for _ in range(2):  # once more against rounding
            shares = span @ vector.flatten()
            vector = vector - (shares @ span).view_as(vector)
            column[: j + 1] += shares
        column[j + 1] = vector.norm()
        columns.append(column)
        h = torch.stack(columns, 1)[: j + 2]
        wanted = torch.zeros(j + 2, dtype=h.dtype, device=h.device)
        wanted[0] = norm
        weights = torch.linalg.lstsq(h, wanted[:, None]).solution[:, 0]
        if bool((wanted - h @ weights).norm() <= enough) or bool(column[j + 1] <= 1e-14 * norm):
            break
        basis.append(vector / column[j + 1])
    return (weights @ torch.stack(basis[: len(weights)]).flatten(1)).view_as(residual), len(columns)


def unsolved(method: str, iterations: int, left: float) -> NotContraction:
    return NotContraction(
        f"{method} of the backward pass leaves a relative residual of {left:.3g} after {iterations} iterations: "
        "I - dF/dz is singular or nearly so, so the map is no contraction here; scale it or raise `backward_limit`"
    )
