"""Policies that read a map once and give the next move in every state, trained by imitation."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Answer = Callable[[Tensor, Tensor], Tensor]
"""Gives the logits (N, moves) of states: number of the map (N,) and state (N,), both int64."""


class MapPolicy(nn.Module):
    """Base class of networks from maps to moves, and their imitation loss.

    A state is a cell, row * W + column, or with several directions directions * cell + direction.

    Args:
        channels: Number of input channels C.
        moves: Number of moves in a state.
        directions: Number of states in a cell.
    """

    def __init__(self, channels: int, moves: int = 8, directions: int = 1):
        super().__init__()
        self.channels, self.moves, self.directions = channels, moves, directions

    def forward(self, maps: Tensor) -> Tensor:
        """Return the logits (B, H, W, directions * moves) of all states of maps (B, C, H, W)."""
        raise NotImplementedError("forward(maps) -> (B, H, W, directions * moves)")

    def answer(self, maps: Tensor) -> Answer:
        """Read maps (B, C, H, W); return the function that gives the logits of states."""
        logits = self(maps).flatten(1, 2).unflatten(-1, (self.directions, self.moves)).flatten(1, 2)
        return lambda number, state: logits[number, state]

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy with the expert's moves, and the share of states with another best move.

        Args:
            batch: "maps" (B, C, H, W), and labelled states: "number" of the map, "state" and "move", each (N,) int64.

        Raises:
            ValueError: If there is no labelled state, or the maps have another number of channels.
        """
        maps = batch["maps"]
        if maps.ndim != 4 or maps.shape[1] != self.channels or len(batch["state"]) == 0:
            raise ValueError(f"{len(batch['state'])} labelled states on maps {tuple(maps.shape)}; give at least one "
                             f"state, and maps (B, {self.channels}, H, W)")  # fmt: skip
        logits = self.answer(maps)(batch["number"], batch["state"])
        error = (logits.argmax(-1) != batch["move"]).float().mean()
        return F.cross_entropy(logits, batch["move"]), {"error": error}

    @torch.no_grad()
    def best(self, maps: Tensor) -> Answer:
        """Return the function that gives the best moves (N,) of states, for maps (B, C, H, W)."""
        answer = self.answer(maps)
        return lambda number, state: answer(number, state).argmax(-1)
