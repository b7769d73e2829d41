"""The plain networks that world models are made of: RMS-normalised MLPs and a block-diagonal GRU (DreamerV3)."""

import itertools

import torch
from torch import Tensor, nn


def mlp(inputs: int, units: int, outputs: int, layers: int = 1, zero: bool = False) -> nn.Sequential:
    """`layers` hidden layers of linear, RMSNorm, SiLU, and a linear output, zero at the start where asked.

    A zero output keeps the first rewards and values at zero: random ones would send the actor after noise.
    """
    sizes = [inputs] + [units] * layers
    modules: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        modules.append(hidden(a, b))
    last = nn.Linear(sizes[-1], outputs)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*modules, last)


def hidden(inputs: int, outputs: int) -> nn.Sequential:
    """Linear, RMSNorm, SiLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.RMSNorm(outputs, eps=1e-4), nn.SiLU())


class BlockLinear(nn.Module):
    """A linear map with a block-diagonal matrix: (*B, inputs) -> (*B, outputs)."""

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(f"{inputs} inputs and {outputs} outputs do not divide into {blocks} blocks")
        bound = (blocks / inputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        split = x.unflatten(-1, (self.weight.shape[0], -1))  # (*B, blocks, inputs / blocks)
        return torch.einsum("...bi,bio->...bo", split, self.weight).flatten(-2) + self.bias


class BlockGRU(nn.Module):
    """The recurrent core of DreamerV3: each block sees its own memory and all inputs; the update gate starts closed."""

    def __init__(self, memory: int, inputs: tuple[int, ...], units: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(i, units), nn.RMSNorm(units, eps=1e-4), nn.SiLU()) for i in inputs
        )
        self.recall = nn.Sequential(nn.Linear(memory, units), nn.RMSNorm(units, eps=1e-4), nn.SiLU())
        width = memory + blocks * units * (len(inputs) + 1)
        self.mix = nn.Sequential(BlockLinear(width, memory, blocks), nn.RMSNorm(memory, eps=1e-4), nn.SiLU())
        self.gates = BlockLinear(memory, 3 * memory, blocks)

    def forward(self, h: Tensor, *inputs: Tensor) -> Tensor:
        """h (*B, memory), inputs (*B, i) -> next h (*B, memory)."""
        seen = [self.recall(h), *(embed(x) for embed, x in zip(self.embed, inputs, strict=True))]
        shared = torch.cat(seen, -1)[..., None, :].expand(*h.shape[:-1], self.blocks, -1)
        blocks = torch.cat([h.unflatten(-1, (self.blocks, -1)), shared], -1).flatten(-2)
        gates = self.gates(self.mix(blocks)).unflatten(-1, (self.blocks, -1))  # (*B, blocks, 3 memory / blocks)
        reset, candidate, update = (gate.flatten(-2) for gate in gates.chunk(3, -1))
        update = torch.sigmoid(update - 1)
        return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * h
