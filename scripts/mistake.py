"""The exception for user errors."""

import difflib
from collections.abc import Iterable


class Mistake(Exception):
    """A user error; the message says what is wrong, where, and what to do."""


def nearest(name: str, names: Iterable[str], n: int = 3) -> str:
    """Return a hint with the names closest to `name`, or all names if there are few."""
    known = list(names)
    lower = {each.lower(): each for each in known}
    close = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n, 0.5)]
    close = close or [each for each in known if name.lower() in each.lower()][:n]
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Choose from {', '.join(known)}." if 0 < len(known) <= 12 else ""
