"""The base class of agents that do not learn."""

from pathlib import Path
from typing import Any

from embodia.agents import Agent, Numbers
from embodia.agents.training.buffers.no_buffer import NoBuffer


class Untrained(Agent):
    """An agent that stores no rows and has no weights."""

    def buffer(self) -> NoBuffer:
        return NoBuffer()

    def update(self, batch: Any) -> Numbers:
        return {}

    def save(self, folder: Path) -> None:
        write_nothing(folder)

    def load(self, folder: Path) -> None:
        """Do nothing: there are no weights."""


def write_nothing(folder: Path) -> None:
    """Write an `agent.safetensors` without tensors, for an agent without weights."""
    from safetensors.numpy import save_file

    save_file({}, folder / "agent.safetensors")
