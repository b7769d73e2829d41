"""A policy network: an encoder, perhaps a memory, and an action head."""

from typing import Any

import torch
from gymnasium import Space
from torch import Tensor, nn

from embodia.agents import Carry
from embodia.agents.heads import make_head
from embodia.perception import Encoder, Obs
from embodia.perception.encoders.mlp import mlp


class Memory(nn.Module):
    """A GRU cell over time (Cho et al. 2014) that forgets where an episode begins."""

    def __init__(self, inputs: int, size: int):
        super().__init__()
        self.size = size
        self.cell = nn.GRUCell(inputs, size)

    def step(self, x: Tensor, state: Tensor, first: Tensor) -> Tensor:
        """x (n, D), state (n, size), first (n,) bool -> the next state (n, size), which is also the output."""
        return self.cell(x, torch.where(first[:, None], 0.0, state))

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> Tensor:
        """x (T, n, D), state (n, size) before it, first (T, n) -> outputs (T, n, size)."""
        outputs = []
        for x_t, first_t in zip(x, first):
            state = self.step(x_t, state, first_t)
            outputs.append(state)
        return torch.stack(outputs)


class Policy(nn.Module):
    """obs -> encoder -> (memory, and what is seen beside it) -> MLP -> head.

    Args:
        encoder: gives tokens (*B, num_tokens, dim); they are laid side by side.
        action_space: chooses the head.
        hidden: widths of the MLP before the head.
        memory: size of the GRU; 0 for none.
        memory_skip: whether the MLP reads the encoder's tokens too, and not only the memory of them.
        components: Gaussians of a continuous head.
    """

    def __init__(
        self,
        encoder: Encoder,
        action_space: Space[Any],
        hidden: tuple[int, ...] = (128,),
        memory: int = 0,
        components: int = 5,
        memory_skip: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        width = encoder.num_tokens * encoder.dim
        self.memory = Memory(width, memory) if memory else None
        self.memory_skip = memory_skip
        read = (memory + width if memory_skip else memory) if memory else width
        self.body = mlp(read, hidden)
        self.head = make_head((read, *hidden)[-1], action_space, components)

    def initial(self, n: int) -> Carry:
        """Memory of n worlds that have seen nothing; {} without memory."""
        if self.memory is None:
            return {}
        return {"memory": torch.zeros(n, self.memory.size, device=next(self.parameters()).device)}

    def step(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        """obs (n, ...), first (n,) -> what the head reads (n, D), and the carry."""
        x = self.encoder(obs).flatten(-2)
        if self.memory is None:
            return self.body(x), carry
        state = self.memory.step(x, carry["memory"], first)
        return self.body(self._read(x, state)), {"memory": state}

    def features(self, obs: Obs, first: Tensor, before: Tensor | None = None) -> Tensor:
        """obs (T, n, ...), first (T, n) -> (T, n, D); without memory any batch axes do.

        `before` (n, size) is the memory at the pieces' first rows; empty where it is not given.
        """
        x = self.encoder(obs).flatten(-2)
        if self.memory is None:
            return self.body(x)
        before = self.initial(x.shape[1])["memory"] if before is None else before
        return self.body(self._read(x, self.memory(x, before, first)))

    def _read(self, x: Tensor, state: Tensor) -> Tensor:
        """What the body reads: memory (*B, size), and beside it what is seen."""
        return torch.cat([x, state], -1) if self.memory_skip else state
