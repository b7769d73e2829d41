"""Read JSON files field by field. Every unexpected value raises one error that names file and field."""

import gzip
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embodia.envs.homes.files.free_memory import available_memory

MOST_BYTES = 2**29  # of one file's text, decompressed
TEXT_FACTOR = 8  # memory that a parsed text takes, per byte
LARGEST = 1e7  # of a number in a vector: metres on Earth fit, and so do the squares of their float32


@contextmanager
def reading(path: Path | str, part: str, error: type[ValueError]) -> Iterator[None]:
    """Turn every exception of a library into `error`, which names the file and the part that was read."""
    try:
        yield
    except error:
        raise
    except Exception as cause:  # readers of broken files fail in many ways, RecursionError and MemoryError among them
        says = " ".join(str(cause).split())[:200]
        raise error(f"{path}: {part} cannot be read ({type(cause).__name__}: {says}).") from cause


def read_json(path: Path, error: type[ValueError]) -> Any:
    """Return the content of a JSON file, gzip or plain. Raises `error`, also if it unpacks to too much text."""
    if path.exists() and not path.is_file():
        raise error(f"{path} is no regular file.")
    kind = "JSON"
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        kind = "gzip JSON" if packed else "JSON"
        limit = min(MOST_BYTES, available_memory() // TEXT_FACTOR)
        with gzip.open(path) if packed else path.open("rb") as file:
            text = file.read(limit + 1)
        if len(text) <= limit:
            return json.loads(text)
    except Exception as cause:
        says = " ".join(str(cause).split())[:200]
        raise error(
            f"{path} is not a whole {kind} file ({type(cause).__name__}: {says}). Fetch it or write it again."
        ) from cause
    raise error(f"{path} holds more than {limit / 1e6:,.0f} MB of text. Split it into one file per scene.")


def read_object(path: Path, error: type[ValueError]) -> dict[str, Any]:
    """`read_json` of a file that must hold an object."""
    content = read_json(path, error)
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a JSON object, not {type(content).__name__}.")
    return content


class Fields:
    """Typed access to one JSON object. Messages name its place (file and position) and its kind."""

    def __init__(self, raw: Any, where: str, error: type[ValueError], kind: str = "it") -> None:
        if not isinstance(raw, dict):
            raise error(f"{where}: {kind} must be an object, not {type(raw).__name__}.")
        self.raw, self.where, self.error = raw, where, error

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def need(self, name: str) -> Any:
        if name not in self:
            raise self.error(f'{self.where}: field "{name}" is missing.')
        return self.raw[name]

    def refuse(self, name: str, kind: str) -> ValueError:
        return self.error(f'{self.where}: field "{name}" is {_shown(self.raw[name])}; it must be {kind}.')

    def text(self, name: str) -> str | None:
        """A string; None if it is missing or null."""
        if name in self and not isinstance(self.raw[name], str):
            raise self.refuse(name, "a string")
        return self.raw.get(name)

    def name(self, name: str) -> str:
        """A string or a whole number, as a string. Required."""
        value = self.need(name)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise self.refuse(name, "a string")
        return str(value)

    def number(self, name: str, default: float) -> float:
        if name not in self:
            return default
        if not _is_number(self.raw[name]):
            raise self.refuse(name, "a finite number")
        return float(self.raw[name])

    def integer(self, name: str) -> int | None:
        """A whole number, also written as 3.0 or "3"; None if it is missing or null."""
        if name not in self:
            return None
        value = self.raw[name]
        if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
            value = int(value)
        if not _is_number(value) or value != int(value) or abs(value) >= 2**63:
            raise self.refuse(name, "a whole number")
        return int(value)

    def vector(self, name: str, length: int) -> tuple[float, ...]:
        """`length` finite numbers. Required."""
        value = self.need(name)
        if not isinstance(value, list | tuple) or not all(isinstance(x, int | float) for x in value):
            raise self.refuse(name, f"{length} numbers")
        if len(value) != length or not all(_is_number(x) and abs(x) < LARGEST for x in value):
            raise self.refuse(name, f"{length} finite numbers")
        return tuple(float(x) for x in value)

    def values(self, name: str) -> list[Any]:
        """A list; empty if it is missing or null."""
        value = self.raw.get(name) or []
        if not isinstance(value, list):
            raise self.refuse(name, "a list")
        return value

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects; empty if it is missing or null."""
        return [Fields(raw, f"{self.where}, {name}[{i}]", self.error) for i, raw in enumerate(self.values(name))]

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty if it is missing or null."""
        value = self.raw.get(name) or {}
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
