"""Configurations as JSON. Reading one imports no code: user-defined classes must be named again."""

import dataclasses
import json
import types as types_module
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from embodia.agents.references.sb3_file import SB3FileConfig
from embodia.scripts.assembly import environments, own
from embodia.scripts.assembly.earlier import renewed
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.kinds import Kind
from embodia.scripts.assembly.parts import flag, kind_of
from embodia.scripts.assembly.provenance import plain
from embodia.scripts.mistake import Mistake, nearest

Root = TypeVar("Root")
Named = Mapping[str, str]
"""Path of a part -> its module:Class on the command line; `env.id` -> the id."""


def write(config: Any, path: Path, **more: Any) -> None:
    """Write a configuration, with `more` entries beside it."""
    path.write_text(json.dumps({**more, "config": plain(config)}, indent=2))


def read(path: Path, root: type[Root], named: Named | None = None) -> Root:
    """Read what `write` wrote. Raises Mistake, naming file and field or the missing flag, if that is impossible."""
    try:
        data = renewed(json.loads(path.read_text())["config"])
    except FileNotFoundError as error:
        raise Mistake(f"{path.parent} is not a run: it has no {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); restore it, or use another run") from error
    named = dict(named or {})
    check_named(path, data, named)
    config = Reader(path, named, dict(types(root))).restore(data, "config")
    if not isinstance(config, root):
        raise Mistake(f"{path}: config is a {type(config).__name__}, not a {root.__name__}")
    return config


def part(path: Path, data: Any, contract: type, named: tuple[str, str]) -> Any:
    """Convert the JSON of one method to its configuration.

    Args:
        path: path of the file, for messages.
        data: the JSON.
        contract: contract of the method.
        named: path of the flag for a user-defined class, and its module:Class.

    Raises:
        Mistake: as `read` does.
    """
    where, name = named
    if missing := [f"{flag(where)} {kind}" for _, kind in of_users(data) if kind != name]:
        refuse(path, missing)
    hint = Annotated[Any, contract]
    return Reader(path, {where: name}, dict(types(hint))).restore(renewed(data), where, hint)


def refuse(path: Path, missing: Sequence[str]) -> None:
    raise Mistake(f"{path}: your own classes are imported only if you name them; add {' '.join(missing)}")


def check_named(path: Path, data: Any, named: Named) -> None:
    """Raise Mistake if the command line does not name exactly the user-defined classes of the run."""
    theirs = dict(of_users(data))
    if missing := [f"{flag(where)} {name}" for where, name in theirs.items() if where not in named]:
        refuse(path, missing)
    for where, name in named.items():
        if where != "env.id" and name != theirs.get(where):
            there = f"has {flag(where)} {theirs[where]}" if where in theirs else f"has no user-defined {where}"
            raise Mistake(f"{flag(where)} {name}: {path} {there}")


def of_users(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, module:Class) of every user-defined part, and (env.id, id) of a user-defined environment."""
    if isinstance(data, dict):
        kind, name = str(data.get("kind")), str(data.get("id"))
        if own.is_own(kind):
            yield path, kind
        if kind == EnvConfig.__name__ and environments.is_own(name):
            yield f"{path}.id", name
        for field, value in data.items():
            yield from of_users(value, f"{path}.{field}" if path else field)


def types(root: Any, within: tuple[Kind, ...] = ()) -> Iterator[tuple[str, type]]:
    """Yield (name, class) of every dataclass that a configuration can contain, except user-defined ones.

    `within` are the kinds of the methods around `root`; it stops the recursion, since a method can contain another of
    its own kind.
    """
    if kind := kind_of(root):
        for method in kind.table.values() if kind not in within else ():
            yield from types(kind.options(method), (*within, kind))
    elif dataclasses.is_dataclass(root) and isinstance(root, type):
        yield root.__name__, root
        for hint in typing.get_type_hints(root, include_extras=True).values():
            yield from types(hint, within)
    for part in typing.get_args(root):
        yield from types(part, within)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a restored value is of the type of its field; a type that is no plain one is not checked."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return fits(value, parts[0])
    if origin in (typing.Union, types_module.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple:
        each = parts[:1] * len(value) if parts[1:] == (...,) and isinstance(value, tuple) else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(fits, value, each))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint is type(None):
        return value is None
    return not dataclasses.is_dataclass(hint) or dataclasses.is_dataclass(value)


def spelled(hint: Any) -> str:
    """Return the name of a field's type for people."""
    if typing.get_origin(hint) is Annotated:
        return spelled(typing.get_args(hint)[0])
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


@dataclass(frozen=True)
class Reader:
    """Converts JSON to dataclasses and tuples."""

    path: Path
    named: Named
    known: Mapping[str, type]

    def restore(self, value: Any, where: str, hint: Any = None) -> Any:
        """Convert a value; `where` is its path in messages, `hint` the type of its field."""
        if isinstance(value, list):
            return tuple(self.restore(each, where) for each in value)
        if not isinstance(value, dict):
            return value
        kind = self.kind(str(value.get("kind")), where, hint)
        typed = typing.get_type_hints(kind, include_extras=True)
        if unknown := set(value) - typed.keys() - {"kind"}:
            names = ", ".join(sorted(unknown))
            raise Mistake(f"{self.path}: {where}: {kind.__name__} has no {names}; it was written by another version")
        given = {name: each for name, each in value.items() if name != "kind"}
        if kind is EnvConfig:
            typed["options"] = self.world(given)
        fields = {name: self.restore(each, f"{where}.{name}", typed[name]) for name, each in given.items()}
        for name, each in fields.items():
            if not (fits(each, typed[name]) or (each is None and name == "options")):
                raise Mistake(f"{self.path}: {where}.{name} is {given[name]!r}; it must be {spelled(typed[name])}")
        try:
            return kind(**fields)
        except TypeError as error:
            raise Mistake(f"{self.path}: {where}: {error}; it was written by another version") from error

    def kind(self, name: str, where: str, hint: Any) -> Any:
        """Return the class of that name. Raises Mistake if there is none."""
        if name == SB3FileConfig.__name__:
            raise Mistake(
                f"{self.path}: {where}: a .zip of Stable-Baselines3 runs code when it is read, so no configuration may "
                "name one; give it on the command line: embodia eval FILE.zip --algo ppo --env ID"
            )
        if own.is_own(name) and (kind := kind_of(hint)) is not None:
            part = where.removeprefix("config.")
            return type(own.configuration(kind, name, flag(part)))
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint.__name__ == name:
            return hint
        if name not in self.known:
            hints = nearest(name, self.known)
            raise Mistake(f"{self.path}: {where}: unknown kind {name!r}. {hints}")
        return self.known[name]

    def world(self, env: dict[str, Any]) -> Any:
        """Return the options class of the environment; None if another environment will replace it."""
        name = str(env.get("id"))
        if environments.is_own(name) and self.named.get("env.id") != name:
            env["options"] = None
            return None
        return environments.options_of(name) if "id" in env else None
