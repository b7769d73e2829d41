"""Locks on folders, so that two processes do not write the same run or report.

The operating system releases a lock when its process ends, however it ends.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embodia.scripts.mistake import Mistake

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """A context in which no other process works in `folder`.

    Args:
        folder: an existing folder; a file `.lock` in it names the process while it works.
        doing: what is being done there ("trained", "evaluated"), for the message.

    Raises:
        Mistake: if another process works there; the message gives its number.
    """
    path = folder / LOCK
    with open(path, "a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise Mistake(
                    f"{folder} is being {doing} by process {file.read().strip() or '?'}; wait for it, or stop it"
                ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
