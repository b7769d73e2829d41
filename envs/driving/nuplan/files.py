"""Read nuPlan's SQLite files. Every failure is a NuPlanDataError that names file, table and column."""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote


class NuPlanDataError(ValueError):
    """nuPlan data on disk that cannot be used; the message names file, table and column."""


def connect(path: Path, what: str) -> sqlite3.Connection:
    """Open a file read-only. Raises FileNotFoundError, whose message says `what` is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}")
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro", uri=True
    )  # a # or ? would end the path, % starts a code
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Convert any exception that a damaged file causes to a NuPlanDataError; `where` names file and table."""
    try:
        yield
    except NuPlanDataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
            sqlite3.Error) as error:  # fmt: skip
        what = f"{type(error).__name__}: {error}" if isinstance(error, LookupError | AttributeError) else str(error)
        raise NuPlanDataError(f"{where}: damaged, or not nuPlan v1.1 ({what:.200})") from error


def query(connection: sqlite3.Connection, path: Path, sql: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
    """Return all rows of a query. Raises NuPlanDataError naming the file."""
    try:
        return connection.execute(sql, arguments).fetchall()
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise NuPlanDataError(f"{path}: damaged, or not nuPlan v1.1 ({error})") from error


def numbers(rows: Sequence[sqlite3.Row], columns: Sequence[str], where: str) -> list[list[float]]:
    """Return columns of rows as numbers. Raises NuPlanDataError naming the first column that holds another value."""
    for row in rows:
        for column in columns:
            if not isinstance(row[column], int | float) or not math.isfinite(row[column]):
                raise NuPlanDataError(f"{where}, column {column}: a finite number is expected, not {row[column]!r:.60}")
    return [[float(row[column]) for column in columns] for row in rows]
