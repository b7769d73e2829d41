"""What a network predicts: the noise (eps), the data (x0), or the velocity v = alpha eps - sigma x0."""

from typing import Literal, NamedTuple

from torch import Tensor

Kind = Literal["eps", "x0", "v"]


class Prediction(NamedTuple):
    """The data and the noise that x_t = alpha x0 + sigma eps is thought to be made of, each (B, *event)."""

    x0: Tensor
    eps: Tensor


def target(kind: Kind, x0: Tensor, eps: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """What the network is trained to give."""
    if kind == "eps":
        return eps
    return x0 if kind == "x0" else alpha * eps - sigma * x0


def prediction(kind: Kind, output: Tensor, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Prediction:
    """What the network's output for x says of data and noise."""
    if kind == "eps":
        return of_eps(output, x, alpha, sigma)
    if kind == "x0":
        return of_x0(output, x, alpha, sigma)
    return Prediction(alpha * x - sigma * output, sigma * x + alpha * output)


def of_eps(eps: Tensor, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Prediction:
    return Prediction((x - sigma * eps) / alpha, eps)


def of_x0(x0: Tensor, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Prediction:
    return Prediction(x0, (x - alpha * x0) / sigma)
