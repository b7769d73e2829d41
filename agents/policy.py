"""A policy network: an encoder, an optional memory, and an action head."""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import Space
from torch import Tensor, nn

from embodia.agents import Carry
from embodia.agents.heads import make_head
from embodia.perception import Encoder, Obs
from embodia.perception.encoders.mlp import mlp


class Memory(nn.Module):
    """A GRU cell (Cho et al. 2014) whose state is reset at the beginning of each episode."""

    def __init__(self, inputs: int, size: int):
        super().__init__()
        self.size = size
        self.cell = nn.GRUCell(inputs, size)

    def step(self, x: Tensor, state: Tensor, first: Tensor) -> Tensor:
        """Map x (n, D), state (n, size), first (n,) bool to the next state (n, size), which is also the output."""
        return self.cell(x, torch.where(first[:, None], 0.0, state))

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> Tensor:
        """Map x (T, n, D), the state (n, size) before it, and first (T, n) to outputs (T, n, size)."""
        outputs = []
        for x_t, first_t in zip(x, first):
            state = self.step(x_t, state, first_t)
            outputs.append(state)
        return torch.stack(outputs)


class PolicyModule(nn.Module):
    """The policy of mode `eval` as one deterministic module, which can be exported.

    Args:
        keys: the observations that it reads.
    """

    def __init__(self, keys: Sequence[str]):
        super().__init__()
        self.keys = tuple(keys)

    def forward(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        """obs, each (n, ...), the carry and first (n,) bool -> actions (n, ...) and the next carry."""
        raise NotImplementedError("forward(obs, carry, first) -> (actions, carry)")


class Policy(nn.Module):
    """Policy network: observation -> encoder -> optional memory -> MLP -> head.

    Args:
        encoder: gives tokens (*B, num_tokens, dim), which are concatenated.
        action_space: determines the head.
        hidden: widths of the MLP before the head.
        memory: size of the GRU; 0 for none.
        memory_skip: whether the MLP reads the encoder's tokens in addition to the GRU's state.
        components: number of Gaussians of a continuous head.
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
        """Return the carry of n environments at the start; {} without memory."""
        if self.memory is None:
            return {}
        return {"memory": torch.zeros(n, self.memory.size, device=next(self.parameters()).device)}

    def step(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        """Map obs (n, ...), the carry and first (n,) to the head's input (n, D) and the new carry."""
        x = self.encoder(obs).flatten(-2)
        if self.memory is None:
            return self.body(x), carry
        state = self.memory.step(x, carry["memory"], first)
        return self.body(self._read(x, state)), {"memory": state}

    def features(self, obs: Obs, first: Tensor, before: Tensor | None = None) -> Tensor:
        """Map obs (T, n, ...) and first (T, n) to the head's input (T, n, D); without memory any batch axes work.

        `before` (n, size) is the memory at the first rows of the sequences; zero by default.
        """
        x = self.encoder(obs).flatten(-2)
        if self.memory is None:
            return self.body(x)
        before = self.initial(x.shape[1])["memory"] if before is None else before
        return self.body(self._read(x, self.memory(x, before, first)))

    def _read(self, x: Tensor, state: Tensor) -> Tensor:
        """The body's input: the memory `state` (*B, size), with `memory_skip` also the tokens `x`."""
        return torch.cat([x, state], -1) if self.memory_skip else state
