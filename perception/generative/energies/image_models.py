"""Energy models of pictures, by a few options."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition
from embodia.perception.generative.energies import EnergyModel
from embodia.perception.generative.energies.networks import Network, energy_network
from embodia.perception.generative.energies.neural_energy import NeuralEnergy
from embodia.perception.generative.energies.rbm import RBM, Units


class ImageRBM(EnergyModel):
    """A restricted Boltzmann machine of pictures of -1 to 1.

    Bernoulli visible units take the brightness of a pixel, from 0 to 1, as a probability.

    Args:
        shape: (C, H, W).
        hidden: number of hidden units.
        units: kind of the visible units.
        std: standard deviation of Gaussian visible units [a picture's range is 2].
        gibbs_steps: Gibbs steps per update.
        persistent: number of chains that go on from update to update (PCD); 0 starts each at the data (CD).
        sampling_steps: Gibbs steps of a sample.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: int = 256,
        units: Units = "bernoulli",
        std: float = 0.5,
        gibbs_steps: int = 5,
        persistent: int = 100,
        sampling_steps: int = 500,
    ):
        super().__init__()
        self.event, self.sampling_steps = tuple(shape), sampling_steps
        size = int(torch.Size(shape).numel())
        self.rbm = RBM(size, hidden, units, std, gibbs_steps, persistent, sampling_steps)

    def to_units(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) -> visible units (B, V)."""
        x = x.flatten(1)
        return (x + 1) / 2 if self.rbm.units == "bernoulli" else x

    def energy(self, x: Tensor) -> Tensor:
        return self.rbm.energy(self.to_units(x))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.rbm.loss({"x": self.to_units(batch["x"])})

    @torch.no_grad()
    def chain(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Iterator[Tensor]:
        """Gibbs sampling; yields the means of the pixels given the hidden units, which are less noisy than samples."""
        for v in self.rbm.chain(n, condition, generator, steps):
            mean = self.rbm.visible_given_hidden(self.rbm.hidden_given_visible(v))
            yield (2 * mean - 1 if self.rbm.units == "bernoulli" else mean).view(n, *self.event)


def image_energy(
    shape: Sequence[int],
    classes: int = 0,
    network: Network = "conv",
    width: int = 16,
    depth: int = 3,
    spectral: bool = False,
    step_size: float = 0.01,
    steps: int = 20,
    temperature: float = 0.1,
    replay: int = 2000,
    restart: float = 0.05,
    penalty: float = 0.01,
    classify: float = 1.0,
    data_noise: float = 0.03,
    sampling_steps: int = 300,
) -> NeuralEnergy:
    """A neural energy of pictures of -1 to 1, with their classes where they have some.

    Args:
        shape: (C, H, W).
        classes: number of classes; 0 for none.
        network: convolutions, or an MLP for tiny pictures.
        width: channels of the first convolution, or width of a layer.
        depth: number of convolutions, all but the first of which halve the size, or of layers.
        spectral: divide each weight by its largest singular value.
        step_size: of Langevin dynamics.
        steps: Langevin steps per update.
        temperature: of the chains' noise; less than 1 gives samples closer to the modes.
        replay: number of chains kept in the buffer.
        restart: share of chains that start anew from noise.
        penalty: weight of the squared energies.
        classify: weight of the cross-entropy of the classes.
        data_noise: standard deviation of noise added to data.
        sampling_steps: Langevin steps of a sample.
    """
    body = energy_network(shape, max(classes, 1), network, width, depth, spectral)
    return NeuralEnergy(
        body,
        shape,
        classes,
        (-1.0, 1.0),
        step_size,
        steps,
        temperature,
        replay,
        restart,
        penalty,
        classify,
        data_noise,
        sampling_steps,
    )
