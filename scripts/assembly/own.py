"""User-defined classes (`module:Class`). Only modules that the command line names are imported."""

import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from embodia.scripts.assembly.kinds import Kind
from embodia.scripts.mistake import Mistake, nearest


def is_own(name: str) -> bool:
    """Return whether a name is `module:Class`, not a name in a table."""
    return ":" in name


def configuration(kind: Kind, name: str, flag: str) -> Any:
    """Return the default configuration of `module:Class`; `flag` is named in error messages.

    Raises:
        Mistake: if there is no such module or class, or if it lacks a method of its contract.
    """
    found = class_of(name, flag)
    if lacking := kind.lacks(found):
        contract = f"{kind.contract.__module__}.{kind.contract.__name__}"
        wanted = f"required of every {kind.noun}, see {contract}"
        raise Mistake(f"{flag} {name}: {found.__name__} lacks {', '.join(lacking)} ({wanted})")
    try:
        return kind.options(found, name)()
    except TypeError as error:
        raise Mistake(f"{flag} {name}: every field of its configuration needs a default: {error}") from error


def class_of(name: str, flag: str) -> type:
    """Import `module:Class`. Raises Mistake if there is no such module or class."""
    module_name, _, class_name = name.partition(":")
    module = imported(module_name, f"{flag} {name}")
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [each for each, value in vars(module).items() if isinstance(value, type)]
        raise Mistake(f"{flag} {name}: {place(module)} has no class {class_name}. {nearest(class_name, classes)}")
    return found


def imported(name: str, said: str) -> ModuleType:
    """Import a module, also from the current folder. Raises Mistake, whose message begins with `said`."""
    if os.getcwd() not in sys.path:  # last, so that it hides no other module
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        needed = "" if name == missing or name.startswith(f"{missing}.") else f", which {name} imports"
        raise Mistake(f"{said}: there is no module {missing}{needed}; install it or correct the name") from error
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}, line {frame.lineno}: " if not isinstance(error, SyntaxError) else ""
        raise Mistake(f"{said}: {name} cannot be imported: {where}{type(error).__name__}: {error}") from error


def place(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)
