"""Ctrl-C and SIGTERM as a request that the loop meets between two rows."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    def __call__(self, number: int, frame: Any) -> None:
        """The signal handler. A second Ctrl-C does not wait for the row to end."""
        again, self.requested = self.requested, True
        if self._at_once or (again and number == signal.SIGINT):
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block (an evaluation, which can be given up) a request ends the block, and only the block."""
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            self.requested = True
        finally:
            self._at_once = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM within the block; only the main thread may, elsewhere nothing is caught."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
