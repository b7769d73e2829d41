"""The user's wrappers around environments, named on the command line: `--wrap module:Wrapper`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorWrapper

from embodia.envs.wrapping import WrappedVector
from embodia.scripts.assembly import own
from embodia.scripts.mistake import Mistake

FLAG = "--wrap"


class WrapperError(Mistake):
    """A wrapper cannot be put around an environment."""


def classes(names: str | None) -> tuple[list[type[gym.Wrapper]], list[type[VectorWrapper]]]:
    """Import the wrappers of one environment, and of a vector environment.

    Args:
        names: `module:Wrapper`, or several of them with commas between, the innermost first.

    Raises:
        Mistake: if a module or class is missing, or a class is not a wrapper.
    """
    single: list[type[gym.Wrapper]] = []
    batched: list[type[VectorWrapper]] = []
    for name in names.split(",") if names else ():
        if not own.is_own(name):
            raise Mistake(f"{FLAG} {name}: name a wrapper as module:Wrapper")
        found = own.class_of(name, FLAG)
        if issubclass(found, gym.Wrapper):
            single.append(found)
        elif issubclass(found, VectorWrapper):
            batched.append(found)
        else:
            raise Mistake(
                f"{FLAG} {name}: {found.__name__} is neither a gymnasium.Wrapper (of one environment) nor a "
                "gymnasium.vector.VectorWrapper (of a batch)"
            )
    return single, batched


def singly(names: str | None) -> list[Callable[[gym.Env], gym.Env]]:
    """Return the wrappers of one environment, with errors of their constructors in one line."""
    return [partial(put_around, each) for each in classes(names)[0]]


def around(names: str | None, made: Any) -> Any:
    """Put the wrappers of a batch around a vector environment."""
    if not (batched := classes(names)[1]):
        return made
    outer = made
    for each in batched:
        outer = put_around(each, outer)
    return WrappedVector(outer, made)


def put_around(wrapper: Callable[[Any], Any], env: Any) -> Any:
    """Construct a wrapper. Raises WrapperError, in one line, if its constructor refuses."""
    try:
        return wrapper(env)
    except Exception as error:
        name = getattr(wrapper, "__name__", str(wrapper))
        said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise WrapperError(
            f"{FLAG}: {name}(env) cannot be made for this environment: {type(error).__name__}: {said}. It is called "
            "with the environment only; derive a class that fixes its other arguments"
        ) from error
