"""A buffer for agents that do not learn."""

from collections.abc import Iterator
from typing import Any

from embodia.agents import Row


class NoBuffer:
    """A buffer that stores nothing and yields no batches."""

    def add(self, row: Row) -> None:
        pass

    def batches(self) -> Iterator[Any]:
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
