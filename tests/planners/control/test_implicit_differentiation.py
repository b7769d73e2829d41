"""Tests of fixed points: implicit gradients against 1000 unrolled steps, memory, and maps that do not contract."""

import pytest
import torch

from embodia.planners.control.implicit_differentiation import FixedPointConfig, NotContraction, fixed_point

D, RATE = 16, 0.8


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(rate=RATE):
    """h = tanh(W h + U x + b) with a W of spectral norm `rate`."""
    w = draw(D, D)
    w = (rate * w / torch.linalg.matrix_norm(w, 2)).requires_grad_()
    b = 0.1 * draw(D, seed=1).requires_grad_()
    x = 0.1 * draw(4, D, seed=2)
    return w, lambda h: (h @ w.mT + x + b).tanh()


def gradient(backward, terms=None, rate=RATE, limit=1000, **more):
    w, step = network(rate)
    config = FixedPointConfig(backward, 1e-13, limit, terms, **more)
    z = fixed_point(step, torch.zeros(4, D, dtype=torch.float64), config)
    (z * draw(4, D, seed=3)).sum().backward()
    return w.grad


@pytest.fixture(scope="module")
def unrolled():
    """The gradient through 1000 steps of the map."""
    w, step = network()
    h = torch.zeros(4, D, dtype=torch.float64)
    for _ in range(1000):
        h = step(h)
    (h * draw(4, D, seed=3)).sum().backward()
    return w.grad


@pytest.mark.parametrize("backward", ["unrolled", "neumann", "cg", "gmres"])
def test_gradients_are_those_of_1000_unrolled_steps(unrolled, backward):
    assert float((gradient(backward) - unrolled).norm() / unrolled.norm()) < 1e-8


@pytest.mark.parametrize("backward", ["neumann", "truncated"])
def test_the_error_of_k_terms_falls_like_the_rate_to_the_k(unrolled, backward):
    terms = (2, 6, 12, 24)
    errors = [float((gradient(backward, k) - unrolled).norm() / unrolled.norm()) for k in terms]
    for k, error in zip(terms, errors, strict=True):
        assert error <= 2 * RATE**k
    assert errors[0] > errors[1] > errors[2] > errors[3] > 0


def test_a_neumann_series_equals_truncated_backpropagation():
    torch.testing.assert_close(gradient("neumann", 7), gradient("truncated", 7), atol=1e-9, rtol=1e-7)


def kept(backward, steps, terms=None):
    """Bytes that the forward pass of a map with rate 1 - 1/steps keeps for the backward pass."""
    sizes = []
    z = torch.ones(D, dtype=torch.float64)
    w = torch.full((D,), 1 - 1 / steps, dtype=torch.float64, requires_grad=True)
    config = FixedPointConfig(backward, 1e-6, 100 * steps, terms)
    pack = lambda tensor: sizes.append(tensor.nbytes) or tensor  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fixed_point(lambda h: w * h + 1, z, config)
    return sum(sizes)


@pytest.mark.parametrize(("backward", "terms"), [("neumann", None), ("cg", None), ("gmres", None), ("truncated", 3)])
def test_memory_does_not_grow_with_the_iterations(backward, terms):
    assert kept(backward, 200, terms) == kept(backward, 5, terms)


def test_unrolled_memory_grows_with_the_iterations():
    assert kept("unrolled", 200) > 10 * kept("unrolled", 5)


def test_a_map_that_does_not_contract_is_reported():
    for backward in ("unrolled", "gmres"):
        with pytest.raises(NotContraction, match=r"factor 1\.5 per iteration: the map is no contraction here"):
            fixed_point(lambda h: 1.5 * h + 1, torch.ones(2), FixedPointConfig(backward, limit=30))
    with pytest.raises(NotContraction, match="not finite"):
        fixed_point(lambda h: h * h + 10, torch.ones(2).double())


@pytest.mark.parametrize("terms", [None, 60])
def test_a_backward_pass_that_does_not_converge_is_reported(terms):
    """The start is a fixed point of a map whose slope there is 1.2, so only the backward pass can notice."""
    w = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    z = fixed_point(lambda h: w * h, torch.zeros(2).double(), FixedPointConfig("neumann", terms=terms))
    with pytest.raises(NotContraction, match="Neumann series of the backward pass does not converge"):
        z.sum().backward()


@pytest.mark.parametrize("backward", ["cg", "gmres"])
def test_a_singular_system_is_reported(backward):
    w = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    z = fixed_point(lambda h: w * h, torch.zeros(2).double(), FixedPointConfig(backward, backward_limit=50))
    with pytest.raises(NotContraction, match="singular or nearly so"):
        z.sum().backward()


@pytest.mark.parametrize("backward", ["cg", "gmres"])
def test_solvers_work_where_the_series_does_not(backward):
    w = torch.tensor([1.2, -3.0], dtype=torch.float64, requires_grad=True)
    b = torch.ones(2, dtype=torch.float64, requires_grad=True)
    start = b.detach() / (1 - w.detach())
    fixed_point(lambda h: w * h + b, start, FixedPointConfig(backward, 1e-12)).sum().backward()
    torch.testing.assert_close(b.grad, 1 / (1 - w.detach()), atol=1e-9, rtol=0)


def test_value_iteration_is_a_fixed_point():
    """dV/dr = (I - gamma P)^-1 along the greedy policy."""
    reward = draw(5, 3).requires_grad_()
    probability = draw(5, 3, 5, seed=1).softmax(-1)
    backup = lambda v: (reward + 0.9 * probability @ v).max(-1).values  # noqa: E731
    values = fixed_point(backup, torch.zeros(5, dtype=torch.float64))
    values[0].backward()
    best = (reward + 0.9 * probability @ values).argmax(-1).detach()
    inverse = torch.linalg.inv(torch.eye(5, dtype=torch.float64) - 0.9 * probability[torch.arange(5), best])
    torch.testing.assert_close(reward.grad[torch.arange(5), best], inverse[0], atol=1e-8, rtol=0)
    assert int((reward.grad != 0).sum()) == 5


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"returns \(2, 2\) for \(2,\)"):
        fixed_point(lambda h: h.expand(2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="truncated needs `terms`"):
        FixedPointConfig("truncated")
    with pytest.raises(ValueError, match="terms is 0"):
        FixedPointConfig("neumann", terms=0)
