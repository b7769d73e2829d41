"""Building blocks of DreamerV3's networks: RMS-normalised layers and a block-diagonal GRU (Hafner et al. 2023)."""

import torch
from torch import Tensor, nn


def rms_layer(inputs: int, outputs: int) -> nn.Sequential:
    """Build Linear, RMSNorm and SiLU, the hidden layer of DreamerV3's networks."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.RMSNorm(outputs, eps=1e-4), nn.SiLU())


class BlockLinear(nn.Module):
    """Linear layer with a block-diagonal matrix: (*B, inputs) -> (*B, outputs).

    Raises:
        ValueError: If `blocks` does not divide `inputs` and `outputs`.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(f"blocks={blocks} must divide {inputs} inputs and {outputs} outputs")
        bound = (blocks / inputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        split = x.unflatten(-1, (self.weight.shape[0], -1))  # (*B, blocks, inputs / blocks)
        return torch.einsum("...bi,bio->...bo", split, self.weight).flatten(-2) + self.bias


class BlockGRU(nn.Module):
    """Recurrent core of DreamerV3: each block sees its own memory and all inputs. The update gate is biased to keep
    memory.
    """

    def __init__(self, memory: int, inputs: tuple[int, ...], units: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.embed = nn.ModuleList(rms_layer(i, units) for i in inputs)
        self.recall = rms_layer(memory, units)
        width = memory + blocks * units * (len(inputs) + 1)
        self.mix = nn.Sequential(BlockLinear(width, memory, blocks), nn.RMSNorm(memory, eps=1e-4), nn.SiLU())
        self.gates = BlockLinear(memory, 3 * memory, blocks)

    def forward(self, h: Tensor, *inputs: Tensor) -> Tensor:
        """Return the next memory (*B, memory) for memory h (*B, memory) and inputs (*B, i)."""
        seen = [self.recall(h), *(embed(x) for embed, x in zip(self.embed, inputs, strict=True))]
        shared = torch.cat(seen, -1)[..., None, :].expand(*h.shape[:-1], self.blocks, -1)
        blocks = torch.cat([h.unflatten(-1, (self.blocks, -1)), shared], -1).flatten(-2)
        gates = self.gates(self.mix(blocks)).unflatten(-1, (self.blocks, -1))  # (*B, blocks, 3 memory / blocks)
        reset, candidate, update = (gate.flatten(-2) for gate in gates.chunk(3, -1))
        update = torch.sigmoid(update - 1)
        return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * h
