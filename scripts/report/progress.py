"""Progress of long commands on the console: how much is done, and about how long the rest takes."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
EVERY = 2.0
"""Minimum time between two messages [s]."""


class Progress:
    """Prints progress to stderr: one line that is rewritten on a terminal, plain lines elsewhere.

    Nothing is printed in the first two seconds, so short work stays silent.

    Args:
        what: what is done, such as "recording".
        total: number of parts.
        unit: name of the parts, such as "episodes".
        done: number of parts that were done before and took no time now.
    """

    def __init__(self, what: str, total: int, unit: str = "", done: int = 0):
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.before, self.began = done, time.monotonic()
        self.said, self.shown = self.began, False

    def advance(self, number: int = 1) -> None:
        """Count finished parts; print at most every two seconds."""
        self.reach(self.done + number)

    def reach(self, done: int) -> None:
        """Set the number of finished parts; print at most every two seconds."""
        self.done, now = done, time.monotonic()
        if now - self.said > EVERY:
            self.said, self.shown = now, True
            self.print(f"{self.what}: {done:,} of {self.total:,} {self.unit}".rstrip() + self.left())
        elif self.shown and done >= self.total and sys.stderr.isatty():
            self.print("")

    def left(self) -> str:
        """Return the remaining time in words, estimated from the time so far."""
        if not self.before < self.done < self.total:
            return ""
        each = (time.monotonic() - self.began) / (self.done - self.before)
        return f", about {duration(each * (self.total - self.done))} left"

    def print(self, text: str) -> None:
        terminal = sys.stderr.isatty()
        print(f"{text:<60}" if terminal else text, file=sys.stderr, end="\r" if terminal else "\n", flush=True)


def over(items: Iterable[Item], what: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, and print progress after each one. `total` is their number, if they have no length."""
    progress = Progress(what, len(items) if isinstance(items, Sequence) else total or 0, unit)
    for item in items:
        yield item
        progress.advance()


def duration(seconds: float) -> str:
    """Return a time in the unit that fits: 8 s, 5 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def patience(text: str, after: float = 5.0, every: float = 20.0) -> Iterator[None]:
    """A context that prints `text` if the work in it takes longer than `after` seconds, and the time every 20 s."""
    done, began = Event(), time.monotonic()

    def tell() -> None:
        if done.wait(after):
            return
        print(text, file=sys.stderr, flush=True)
        while not done.wait(every):
            print(f"  ... {duration(time.monotonic() - began)}", file=sys.stderr, flush=True)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
