"""The scores that an environment declares: which is the main score, and whether higher or lower is better.

An environment declares them in `metadata["scores"]`, a dict of name -> "higher" or "lower". The first is the main
score: it comes first in reports and selects the best checkpoint. Without a declaration, the return is used.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Better = Literal["higher", "lower"]
SIGN: dict[Better, float] = {"higher": 1.0, "lower": -1.0}
"""Factor after which higher is better."""
COUNTED = ("return", "length")
"""Scores that every episode has in any environment."""


class ScoreError(ValueError):
    """An environment's score declaration is invalid; the message says what is wrong and what to write."""


def declared_scores(env: Any) -> dict[str, Better]:
    """Return the scores that an environment or vector environment declares, the main score first.

    Raises:
        ScoreError: if `metadata["scores"]` is not a dict with values "higher" and "lower".
    """
    said = (getattr(env, "metadata", None) or {}).get("scores") or {"return": "higher"}
    if not isinstance(said, Mapping) or not set(said.values()) <= set(SIGN):
        raise ScoreError(
            f'{env_id(env)}: metadata["scores"] is {said!r}; write a dict of names and "higher" or "lower", such as '
            '{"success": "higher", "distance": "lower"}, with the main score first'
        )
    return dict(said)


def deciding(declared: Iterable[str], reported: Iterable[str]) -> str | None:
    """Return the first declared score that was reported, or None."""
    known = set(reported)
    return next((name for name in declared if name in known), None)


def warn_of_differences(env: Any, metrics: Mapping[str, Any]) -> None:
    """Warn if an episode's metrics are not the scores that its environment declares.

    Raises:
        ScoreError: if the declaration is invalid.
    """
    declared = declared_scores(env)
    missing = [name for name in declared if name not in metrics and name not in COUNTED]
    unknown = [name for name in metrics if name not in declared]
    found = [f"an episode ended without {', '.join(missing)}"] if missing else []
    found += [f"{', '.join(unknown)} not declared (higher is assumed to be better)"] if unknown else []
    if found:
        decides = deciding(declared, (*metrics, *COUNTED))
        text = f'{env_id(env)}, metadata["scores"]: {"; ".join(found)}; the main score is {decides}'
        warnings.warn(text, stacklevel=2)


def env_id(env: Any) -> str:
    """Return the registered id of an environment, or its class name."""
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else type(env).__name__
