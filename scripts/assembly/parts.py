"""The parts of a configuration that are methods: which there are, how one takes another's place, how one is built."""

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
"""The flags that name parts of a run again."""
Given = Mapping[str, Callable[[], Any]]
"""What a constructor may ask for, by name; made when it is asked for."""


def kind_of(hint: Any) -> Kind | None:
    """The kind of method that a field holds, by its annotation."""
    contracts = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return next((kind for kind in KINDS if {kind.contract, kind.contract.__name__} & set(contracts)), None)


def parts(config: Any, path: str = "") -> Iterator[tuple[str, Kind, Any]]:
    """(path, kind, what is there) of every part at any depth, the outer before the inner."""
    if not dataclasses.is_dataclass(config):
        return
    typed = hints(type(config), extras=True)
    for field in dataclasses.fields(config):
        value, here = getattr(config, field.name), f"{path}{field.name}"
        if kind := kind_of(typed.get(field.name)):
            yield here, kind, value
        yield from parts(value, f"{here}.")


def configured(kind: Kind, name: str, **chosen: Any) -> Any:
    """The configuration of a method in a table, with its own values but for those chosen."""
    return kind.options(kind.named(name))(**chosen)


def settled(config: Root) -> Root:
    """The same, each part that is a bare name now the configuration that it stands for."""
    while named := next(((path, kind, name) for path, kind, name in parts(config) if isinstance(name, str)), None):
        path, kind, name = named
        config = put(config, path, configured(kind, name))
    return config


def put(config: Any, path: str, value: Any) -> Any:
    """The same, with another value at a path of fields."""
    head, _, rest = path.partition(".")
    inner = put(getattr(config, head), rest, value) if rest else value
    return replace(config, **{head: inner})


# Choosing ---------------------------------------------------------------------------------------------------------


def chosen(arguments: Sequence[str], config: Root) -> tuple[list[str], Root]:
    """Take `--agent NAME` and its like out of the arguments: the rest, and the configuration with these parts.

    Raises:
        Mistake: for a name that is neither in the part's table nor a class that can be had as module:Class.
    """
    rest, config = list(arguments), settled(config)
    while found := next(((*each, *taken) for each in parts(config) if (taken := take(rest, each[0]))), None):
        path, kind, old, name, rest = found
        config = put(config, path, exchanged(kind, old, name, flag(path)))
    for path, kind, part in parts(config):
        check_leaves(rest, path, kind.name(part), [each.name for each in dataclasses.fields(part)])
    return rest, config


def check_leaves(arguments: Sequence[str], path: str, name: str, leaves: Sequence[str]) -> None:
    """Raises Mistake for a flag of a part that has no such option."""
    for argument in arguments:
        head, dot, rest = argument.partition("=")[0].replace("_", "-").partition(f"{flag(path)}.")
        leaf = rest.partition(".")[0].replace("-", "_")
        if not head and dot and leaf not in leaves and leaf.removeprefix("no_") not in leaves:
            known = ", ".join(each.replace("_", "-") for each in leaves) or "no options"
            raise Mistake(f"{flag(path)}.{rest} means nothing to {name}, which has {known}")


def exchanged(kind: Kind, old: Any, name: str, said: str) -> Any:
    """The configuration of the method `name`; of the old one what both share and was not its own value."""
    if name == kind.name(old):
        return old
    new = own.configuration(kind, name, said) if own.is_own(name) else configured(kind, name)
    fresh = type(old)()
    both = [each for each in kind.shared if hasattr(old, each) and hasattr(new, each)]
    changed = {each: getattr(old, each) for each in both if getattr(old, each) != getattr(fresh, each)}
    return settled(replace(new, **changed))


def names(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take `--agent module:Class` and its like out of the arguments: the rest, and name by path."""
    rest, found = list(arguments), {}
    while path := next((match[1] for argument in rest if (match := PART.match(argument))), None):
        path = path.replace("-", "_")
        taken = take(rest, path)
        assert taken is not None
        found[path], rest = taken
    return rest, found


def flag(path: str) -> str:
    return "--" + path.replace("_", "-")


def take(arguments: list[str], path: str) -> tuple[str, list[str]] | None:
    """The value of a flag, and the arguments without it. Raises Mistake for a flag without a value."""
    wanted = flag(path)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") != wanted:
            continue
        if equals:
            return value, arguments[:i] + arguments[i + 1 :]
        if i + 1 == len(arguments) or arguments[i + 1].startswith("--"):
            raise Mistake(f"{wanted} needs a name: one of a table (`embodia list`), or module:Class")
        return arguments[i + 1], arguments[:i] + arguments[i + 2 :]
    return None


def help_of(config: Any, fixed: Sequence[str] = ()) -> str:
    """Which parts can be exchanged, a line each."""
    there = [each for each in parts(settled(config)) if each[0] not in fixed]
    lines = [f"  {flag(path)} {kind.name(now)}   (of {', '.join(kind.table)})" for path, kind, now in there]
    return "\n".join(["Parts, each by a name or as module:Class of your own:", *lines])


# Building ---------------------------------------------------------------------------------------------------------


def build(kind: Kind, config: Any, given: Given) -> Any:
    """The object that a configuration, or a bare name, stands for.

    Its constructor gets what it asks for by name: its configuration as `config` (or its options one by one), the parts
    that this holds, and of what is given what its kind may ask for.

    Raises:
        Mistake: where it asks for anything else, or leaves an attribute of its contract out.
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
            raise Mistake(f"{name}: its constructor asks for {each}; it is given {', '.join(offered)}, each by name")
    made = method(**arguments)
    if missing := [each for each in kind.sets if not hasattr(made, each)]:
        raise Mistake(f"{name}: its constructor sets no {', '.join(missing)}, which every {kind.noun} has")
    return made
