"""The options of a method, as a frozen dataclass whose fields are flags."""

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Method = Callable[..., Any]
"""A class, or a function that makes one."""


@functools.cache
def options(method: Method, given: tuple[str, ...], name: str = "") -> type:
    """Return the configuration class of a method; `method_of` maps it back to the method.

    Args:
        method: its configuration is the dataclass that annotates its parameter `config`, or its attribute `Config`.
            Without either, a dataclass is made from its keyword arguments.
        given: parameters that are not options.
        name: name of the configuration class, for a class that is not in a table.
    """
    config = config_of(method)
    if config is not None and not name:
        return config
    fields = [] if config else list(keywords(method, given))
    about = {"__builds__": method, "__doc__": summary(config or method), "__module__": __name__}
    frozen = config is None or config.__dataclass_params__.frozen
    bases = (config,) if config else ()
    return dataclasses.make_dataclass(
        name or plain(method).__name__, fields, bases=bases, frozen=frozen, namespace=about
    )


def method_of(kind: type) -> Method | None:
    """Return the method that a configuration class was made for; None if the class was not made by `options`."""
    return vars(kind).get("__builds__")


def config_of(method: Method) -> Any:
    """Return the dataclass that a method, or the closest of its base classes, declares as configuration, or None."""
    function = plain(method)
    for owner in function.__mro__ if isinstance(function, type) else (function,):
        if "Config" in vars(owner):
            return vars(owner)["Config"]
        if not isinstance(owner, type) or "__init__" in vars(owner):
            hint = hints(owner).get("config")
            return next((each for each in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(each)), None)
    return None


def keywords(method: Method, given: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, type, default) of the keyword arguments that can be flags."""
    typed, said = hints(plain(method)), documented(plain(method))
    for name, parameter in inspect.signature(method).parameters.items():
        value = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
        hint = expressible(typed.get(name, of_value(value)))
        if name in given or value is parameter.empty or hint in (None, types.NoneType):
            continue
        about = [tyro.conf.arg(help=said[name])] if name in said else []
        whole = [tyro.conf.FlagConversionOff] if hint is bool else []
        yield name, functools.reduce(lambda kind, more: Annotated[kind, more], [*about, *whole], hint), value


def of_value(value: Any) -> Any:
    """Infer the type of a default value without annotation."""
    inner = {type(each) for each in value} if isinstance(value, tuple) else ()
    return tuple.__class_getitem__((*inner, ...)) if len(inner) == 1 else type(value)


def expressible(hint: Any) -> Any:
    """Return the type for the command line (a tuple for any sequence); None if it cannot be a flag."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal or hint in (int, float, str, bool, types.NoneType, Path):
        return hint
    if origin is Annotated:
        return expressible(parts[0])
    inner: Any = tuple(part if part is Ellipsis else expressible(part) for part in parts)
    if not parts or None in inner:
        return None
    if origin in (typing.Union, types.UnionType):
        return typing.Union[inner]  # noqa: UP007 (a tuple of types)
    if origin is tuple:
        return tuple.__class_getitem__(inner)
    return tuple.__class_getitem__((inner[0], ...)) if issubclass(origin, Sequence) else None


def hints(method: Any, extras: bool = False) -> dict[str, Any]:
    """Return the types of the parameters of a constructor or function; {} if they cannot be resolved."""
    try:
        function = inspect.getattr_static(method, "__init__") if isinstance(method, type) else method
        found = typing.get_type_hints(function, include_extras=extras)
    except (NameError, TypeError):
        return {}
    return {name: hint for name, hint in found.items() if name != "return"}


def plain(method: Method) -> Any:
    """Return the class or function without the arguments that its table entry fixes."""
    return method.func if isinstance(method, functools.partial) else method


def summary(method: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    text = inspect.getdoc(plain(method)) or ""
    return " ".join(text.split("\n\n")[0].split())


def documented(method: Any) -> dict[str, str]:
    """Return the documentation of each parameter, from below a dataclass's fields or from "Args:"."""
    if dataclasses.is_dataclass(method):
        return dict(field_docs(method))
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", inspect.getdoc(method) or "", re.M)
    entries = re.findall(r"^(\w+(?:, \w+)*): (.*(?:\n[ ]+.*)*)", textwrap.dedent(section[1]) if section else "", re.M)
    return {name: sentence(text) for names, text in entries for name in names.split(", ")}


def field_docs(method: Any) -> Iterator[tuple[str, str]]:
    """Yield the docstrings below a dataclass's fields."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    except (OSError, TypeError, SyntaxError):  # a class without a file
        return
    assert isinstance(body, ast.ClassDef)
    for field, below in zip(body.body, body.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield ast.unparse(field.target), sentence(str(below.value.value))


def sentence(text: str) -> str:
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]


def parameters(method: Method) -> Mapping[str, inspect.Parameter]:
    """Return the named parameters of a method."""
    found = inspect.signature(method).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: each for name, each in found.items() if each.kind not in variable}
