"""What a user can get wrong, said in one message."""

import difflib
from collections.abc import Iterable


class Mistake(Exception):
    """The command cannot be done as asked; the message says what is wrong, where, and what to do."""


def nearest(name: str, names: Iterable[str], n: int = 3) -> str:
    """The names most like `name`, as a hint; every name where there are few."""
    known = list(names)
    lower = {each.lower(): each for each in known}
    close = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n, 0.5)]
    close = close or [each for each in known if name.lower() in each.lower()][:n]
    if close:
        return f"Nearest: {', '.join(close)}."
    return f"There are: {', '.join(known)}." if 0 < len(known) <= 12 else ""
