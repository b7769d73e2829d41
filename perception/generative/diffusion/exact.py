"""The denoiser that knows the density: for tests, and to tell a sampler's error from a network's."""

from typing import Protocol

from torch import Tensor

from embodia.perception.generative.diffusion.parametrization import Prediction, of_eps
from embodia.perception.generative.diffusion.samplers import Predict
from embodia.perception.generative.diffusion.schedule import Schedule


class NoisedScore(Protocol):
    """A density whose noised laws have known scores, such as a Gaussian mixture."""

    def noised(self, scale: float, std: float) -> "NoisedScore":
        """The law of scale * x + std * noise."""

    def score(self, x: Tensor) -> Tensor: ...


def exact_predictor(density: NoisedScore, schedule: Schedule) -> Predict:
    """eps = -sigma_t times the score of the noised law."""

    def predict(x: Tensor, t: int) -> Prediction:
        alpha, sigma = schedule.alphas[t], schedule.sigmas[t]
        return of_eps(-sigma * density.noised(alpha, sigma).score(x), x, alpha, sigma)

    return predict
