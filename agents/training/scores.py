"""What an environment says of its scores: which one decides, and whether higher or lower is better.

It declares them in `metadata["scores"]`, name -> "higher" or "lower"; the first heads reports and decides between
checkpoints. An environment that declares nothing is judged by its return.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Better = Literal["higher", "lower"]
SIGN: dict[Better, float] = {"higher": 1.0, "lower": -1.0}
"""Times a score: higher is better."""
COUNTED = ("return", "length")
"""Scores that every episode has, whatever its environment reports."""


class ScoreError(ValueError):
    """An environment declares its scores wrongly; the message says what is wrong and what to write."""


def declared_scores(env: Any) -> dict[str, Better]:
    """The scores of an environment or a vector of them, the one that decides first.

    Raises:
        ScoreError: where `metadata["scores"]` is no dict of "higher" and "lower".
    """
    said = (getattr(env, "metadata", None) or {}).get("scores") or {"return": "higher"}
    if not isinstance(said, Mapping) or not set(said.values()) <= set(SIGN):
        raise ScoreError(
            f'{env_id(env)}: metadata["scores"] is {said!r}; write a dict of names and "higher" or "lower", such as '
            '{"success": "higher", "distance": "lower"}, the score that decides first'
        )
    return dict(said)


def deciding(declared: Iterable[str], reported: Iterable[str]) -> str | None:
    """The first declared score that was reported; None where none was."""
    known = set(reported)
    return next((name for name in declared if name in known), None)


def warn_of_differences(env: Any, metrics: Mapping[str, Any]) -> None:
    """Warn in one line where an episode's metrics are not the scores that its environment declares.

    Raises:
        ScoreError: where it declares them wrongly.
    """
    declared = declared_scores(env)
    missing = [name for name in declared if name not in metrics and name not in COUNTED]
    unknown = [name for name in metrics if name not in declared]
    found = [f"an episode ended without {', '.join(missing)}"] if missing else []
    found += [f"{', '.join(unknown)} undeclared, so higher is taken for better"] if unknown else []
    if found:
        decides = deciding(declared, (*metrics, *COUNTED))
        warnings.warn(f'{env_id(env)}, metadata["scores"]: {"; ".join(found)}; {decides} decides', stacklevel=2)


def env_id(env: Any) -> str:
    """The registered id of an environment, or its class."""
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else type(env).__name__
