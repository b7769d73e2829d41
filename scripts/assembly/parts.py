"""The parts of a configuration that are methods: find them, replace them by flags, build them."""

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter
from typing import Any, TypeVar

from embodia.scripts.assembly import own
from embodia.scripts.assembly.kinds import KINDS, Kind
from embodia.scripts.assembly.options import config_of, hints, parameters
from embodia.scripts.mistake import Mistake

Root = TypeVar("Root")
PART = re.compile(r"--((?:agent|encoder|method|env\.)[\w.-]*)")
"""Flags that repeat parts of a run."""
Given = Mapping[str, Callable[[], Any]]
"""Arguments that a constructor can have, by name; made only if it has them."""


def kind_of(hint: Any) -> Kind | None:
    """Return the kind of method that a field holds, from its annotation, or None."""
    contracts = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return next((kind for kind in KINDS if {kind.contract, kind.contract.__name__} & set(contracts)), None)


def parts(config: Any, path: str = "") -> Iterator[tuple[str, Kind, Any]]:
    """Yield (path, kind, value) of every part at any depth, outer parts first."""
    if not dataclasses.is_dataclass(config):
        return
    typed = hints(type(config), extras=True)
    for field in dataclasses.fields(config):
        value, here = getattr(config, field.name), f"{path}{field.name}"
        if kind := kind_of(typed.get(field.name)):
            yield here, kind, value
        yield from parts(value, f"{here}.")


def configured(kind: Kind, name: str, **chosen: Any) -> Any:
    """Return the configuration of a method in a table, with its defaults except for `chosen`."""
    return kind.options(kind.named(name))(**chosen)


def settled(config: Root) -> Root:
    """Replace each part that is a name by its default configuration."""
    while named := next(((path, kind, name) for path, kind, name in parts(config) if isinstance(name, str)), None):
        path, kind, name = named
        config = put(config, path, configured(kind, name))
    return config


def put(config: Any, path: str, value: Any) -> Any:
    """Return the configuration with another value at a path of fields."""
    head, _, rest = path.partition(".")
    inner = put(getattr(config, head), rest, value) if rest else value
    return replace(config, **{head: inner})


# Choosing ---------------------------------------------------------------------------------------------------------


def chosen(arguments: Sequence[str], config: Root) -> tuple[list[str], Root]:
    """Take flags like `--agent NAME` out of the arguments; return the rest and the configuration with these parts.

    Raises:
        Mistake: if a name is neither in the part's table nor an importable module:Class.
    """
    rest, config = list(arguments), settled(config)
    while found := next(((*each, *taken) for each in parts(config) if (taken := take(rest, each[0]))), None):
        path, kind, old, name, rest = found
        config = put(config, path, exchanged(kind, old, name, flag(path)))
    for path, kind, part in parts(config):
        check_leaves(rest, path, kind.name(part), [each.name for each in dataclasses.fields(part)])
    return rest, config


def check_leaves(arguments: Sequence[str], path: str, name: str, leaves: Sequence[str]) -> None:
    """Raise Mistake if a flag names an option that its part does not have."""
    for argument in arguments:
        head, dot, rest = argument.partition("=")[0].replace("_", "-").partition(f"{flag(path)}.")
        leaf = rest.partition(".")[0].replace("-", "_")
        if not head and dot and leaf not in leaves and leaf.removeprefix("no_") not in leaves:
            known = ", ".join(each.replace("_", "-") for each in leaves) or "no options"
            raise Mistake(f"{flag(path)}.{rest} is not an option of {name}, which has {known}")


def exchanged(kind: Kind, old: Any, name: str, said: str) -> Any:
    """Return the configuration of the method `name`; shared options that were changed in the old one are kept."""
    if name == kind.name(old):
        return old
    new = own.configuration(kind, name, said) if own.is_own(name) else configured(kind, name)
    fresh = type(old)()
    both = [each for each in kind.shared if hasattr(old, each) and hasattr(new, each)]
    changed = {each: getattr(old, each) for each in both if getattr(old, each) != getattr(fresh, each)}
    return settled(replace(new, **changed))


def names(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take flags like `--agent module:Class` out of the arguments; return the rest and {path: name}."""
    rest, found = list(arguments), {}
    while path := next((match[1] for argument in rest if (match := PART.match(argument))), None):
        path = path.replace("-", "_")
        taken = take(rest, path)
        assert taken is not None
        found[path], rest = taken
    return rest, found


def flag(path: str) -> str:
    if path == "env.wrap":
        return "--wrap"
    return "--" + path.replace("_", "-")


def take(arguments: list[str], path: str) -> tuple[str, list[str]] | None:
    """Return the value of a flag and the arguments without it, or None. Raises Mistake if it has no value."""
    wanted = flag(path)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") != wanted:
            continue
        if equals:
            return value, arguments[:i] + arguments[i + 1 :]
        if i + 1 == len(arguments) or arguments[i + 1].startswith("--"):
            raise Mistake(f"{wanted} needs a name (see `embodia list`) or module:Class")
        return arguments[i + 1], arguments[:i] + arguments[i + 2 :]
    return None


def help_of(config: Any, fixed: Sequence[str] = ()) -> str:
    """Return the help text on parts that can be replaced, one line each."""
    there = [each for each in parts(settled(config)) if each[0] not in fixed]
    lines = [f"  {flag(path)} {kind.name(now)}   (one of {', '.join(kind.table)})" for path, kind, now in there]
    return "\n".join(["Replaceable parts, each given by name or as your own module:Class:", *lines])


# Building ---------------------------------------------------------------------------------------------------------


def build(kind: Kind, config: Any, given: Given) -> Any:
    """Build the object of a configuration or a name.

    Arguments are passed to the constructor by name: its configuration as `config` (or its options one by one), the
    parts of its configuration, and the entries of `given` that its kind allows.

    Args:
        kind: kind of the method.
        config: its configuration, or its name.
        given: further arguments, by name.

    Raises:
        Mistake: if the constructor has any other argument, or does not set an attribute of its contract.
        TypeError, ValueError: as the constructor does.
    """
    config = configured(kind, config) if isinstance(config, str) else config
    method, name = kind.method(config), kind.name(config)
    offered: dict[str, Callable[[], Any]] = {each: given[each] for each in kind.given if each in given}
    offered |= {path: partial(build, inner, part, given) for path, inner, part in parts(config) if "." not in path}
    if config_of(method) is None:
        offered |= {each.name: partial(getattr, config, each.name) for each in dataclasses.fields(config)}
    else:
        offered["config"] = lambda: config
    arguments: dict[str, Any] = {}
    for each, parameter in parameters(method).items():
        if each in offered:
            arguments[each] = offered[each]()
        elif parameter.default is Parameter.empty:
            raise Mistake(f"{name}: its constructor has the argument {each}; available are {', '.join(offered)}")
    made = method(**arguments)
    if missing := [each for each in kind.sets if not hasattr(made, each)]:
        raise Mistake(f"{name}: its constructor does not set {', '.join(missing)}, which every {kind.noun} needs")
    return made
