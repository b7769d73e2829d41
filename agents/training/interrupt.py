"""Ctrl-C and SIGTERM as a request to stop, which the training loop handles between two rows."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """Signal handler that records a request to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal. A second Ctrl-C raises KeyboardInterrupt at once."""
        again, self.requested = self.requested, True
        if self._at_once or (again and number == signal.SIGINT):
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A context (for an evaluation) that a request to stop ends at once, without ending more than it."""
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            self.requested = True
        finally:
            self._at_once = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A context that catches SIGINT and SIGTERM; in other threads than the main one, nothing is caught."""
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
