"""What agents share that learn nothing."""

from pathlib import Path
from typing import Any

from embodia.agents import Agent, Numbers
from embodia.agents.training.buffers.no_buffer import NoBuffer


class Untrained(Agent):
    """Keeps no rows, and writes checkpoints without weights."""

    def buffer(self) -> NoBuffer:
        return NoBuffer()

    def update(self, batch: Any) -> Numbers:
        return {}

    def save(self, folder: Path) -> None:
        write_nothing(folder)

    def load(self, folder: Path) -> None:
        """There is nothing to read."""


def write_nothing(folder: Path) -> None:
    """An `agent.safetensors` without tensors: a checkpoint of an agent that has nothing to remember."""
    from safetensors.numpy import save_file

    save_file({}, folder / "agent.safetensors")
