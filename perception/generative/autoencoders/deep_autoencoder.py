"""Deep autoencoder of logistic units with a linear code, from random weights or unrolled from stacked RBMs.

Hinton & Salakhutdinov 2006: from small random weights, a deep autoencoder of logistic units hardly learns; unrolled
from pretrained RBMs, it reconstructs better than PCA with a code of the same length.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from embodia.perception.generative.autoencoders.autoencoder import Autoencoder
from embodia.perception.generative.autoencoders.stacked_rbm import RBMWeights, StackedRBM


def unrolled(rbms: Sequence[RBMWeights], event: Sequence[int]) -> Autoencoder:
    """Build the autoencoder whose encoder is a stack of RBMs, and whose decoder is the same stack upside down.

    The weights are copied; fine-tuning may change those of encoder and decoder independently. The RBM closest to the
    code has linear hidden units, all other units are logistic.

    Args:
        rbms: The stack, from the data to the code.
        event: Shape of one sample.
    """
    up: list[nn.Module] = [nn.Flatten()]
    down: list[nn.Module] = []
    for rbm in rbms:
        up += [linear(rbm.weight.T, rbm.hidden_bias), nn.Sigmoid()]
    for rbm in reversed(rbms):
        down += [linear(rbm.weight, rbm.visible_bias), nn.Sigmoid()]
    encoder, decoder = nn.Sequential(*up[:-1]), nn.Sequential(*down, nn.Unflatten(1, tuple(event)))
    return Autoencoder(encoder, decoder, event, len(rbms[-1].hidden_bias))


def linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    """Return a linear layer with a copy of these weights (outputs, inputs)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer


def deep_autoencoder(event: Sequence[int], widths: Sequence[int], std: float = 0.1) -> Autoencoder:
    """Build the same network from random weights.

    Args:
        event: Shape of one sample, values from 0 to 1.
        widths: Units of each layer of the encoder; the last is the length of the code.
        std: Standard deviation of the initial weights.
    """
    sizes = [int(torch.Size(event).numel()), *widths]
    return unrolled([StackedRBM(v, h, std=std) for v, h in itertools.pairwise(sizes)], event)
