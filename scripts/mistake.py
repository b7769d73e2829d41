"""The exception for user errors."""

import difflib
from collections.abc import Iterable


class Mistake(Exception):
    """A user error; the message says what is wrong, where, and what to do."""


def at_least_one(**given: int | None) -> None:
    """Raise Mistake if a number of the command line, named as its flag, is given and less than 1."""
    for name, value in given.items():
        if value is not None and value < 1:
            raise Mistake(f"--{name.replace('_', '-')} is {value}; it must be at least 1")


def nearest(name: str, names: Iterable[str], n: int = 3) -> str:
    """Return a hint with the names closest to `name`, or all names if there are few."""
    known = list(names)
    lower = {each.lower(): each for each in known}
    close = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n, 0.5)]
    close = close or [each for each in known if name.lower() in each.lower()][:n]
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Choose from {', '.join(known)}." if 0 < len(known) <= 12 else ""
