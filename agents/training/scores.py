"""The scores of finished episodes, and what an environment declares about them.

An environment declares its scores in `metadata["scores"]`, a dict of name -> "higher" or "lower". The first is the main
score: it comes first in reports and selects the best checkpoint. Without a declaration, the return is used.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

Better = Literal["higher", "lower"]
SIGN: dict[Better, float] = {"higher": 1.0, "lower": -1.0}
"""Factor after which higher is better."""
COUNTED = ("return", "length")
"""Scores that every episode has in any environment."""
SUCCESS = "success"
"""The one score whose absence has a meaning: an episode that ends without it is a failure."""


class ScoreError(ValueError):
    """An environment's score declaration is invalid; the message says what is wrong and what to write."""


def declared_scores(env: Any) -> dict[str, Better]:
    """Return the scores that an environment or vector environment declares, the main score first.

    Raises:
        ScoreError: if `metadata["scores"]` is not a dict with values "higher" and "lower".
    """
    said = (getattr(env, "metadata", None) or {}).get("scores") or {"return": "higher"}
    if not isinstance(said, Mapping) or not all(isinstance(n, str) and str(way) in SIGN for n, way in said.items()):
        raise ScoreError(
            f'{env_id(env)}: metadata["scores"] is {said!r}; write a dict of names and "higher" or "lower", such as '
            '{"success": "higher", "distance": "lower"}, with the main score first'
        )
    return dict(said)


def deciding(declared: Iterable[str], reported: Iterable[str]) -> str | None:
    """Return the first declared score that was reported, or None."""
    known = set(reported)
    return next((name for name in declared if name in known), None)


class EpisodeScores:
    """Reads the scores of finished episodes and warns once about each score that is missing or not declared.

    An episode that ends without `success`, although the environment declares it or has reported it before, counts as a
    failure. Otherwise averages would skip episodes that ended by the time limit.

    Args:
        env: an environment or a vector environment.
        reported: names of scores that it has reported before.

    Raises:
        ScoreError: if the declaration is invalid.
    """

    def __init__(self, env: Any, reported: Iterable[str] = ()) -> None:
        self.env, self.declared = env, declared_scores(env)
        self.reported = dict.fromkeys(reported)
        self._missed: set[str] = set()  # names of missing scores with a warning
        self._undeclared: set[str] = set()

    def read(self, metrics: Mapping[str, Any], seed: object) -> dict[str, float]:
        """Return the scores of one finished episode as numbers.

        Args:
            metrics: `info["metrics"]` of its last step; empty if there was none.
            seed: seed of the episode, for messages.

        Raises:
            ScoreError: if a score is not a finite number; the message names the environment, seed and score.
        """
        if not isinstance(metrics, Mapping):
            raise ScoreError(f'{env_id(self.env)}, seed {seed}: info["metrics"] is {metrics!r}; it must be a dict')
        scores = {name: self._number(name, value, seed) for name, value in metrics.items()}
        self.reported |= dict.fromkeys(scores)
        expected = [*(name for name in self.declared if name not in COUNTED), *self.reported]
        missing = [name for name in dict.fromkeys(expected) if name not in scores]
        if SUCCESS in missing:
            scores[SUCCESS] = 0.0
        self._say(missing, [name for name in metrics if name not in self.declared], seed)
        return scores

    def _number(self, name: str, value: Any, seed: object) -> float:
        number = np.asarray(value)
        if number.shape != () or number.dtype.kind not in "biuf" or not np.isfinite(number):
            raise ScoreError(
                f'{env_id(self.env)}, seed {seed}: info["metrics"][{name!r}] is {value!r}; a score is one finite number'
            )
        return float(number)

    def _say(self, missing: list[str], undeclared: list[str], seed: object) -> None:
        """Warn about missing and undeclared scores, each once."""
        missing = [name for name in missing if name not in self._missed]
        undeclared = [name for name in undeclared if name not in self._undeclared]
        self._missed.update(missing)
        self._undeclared.update(undeclared)
        failed = ", which counts as a failure" if SUCCESS in missing else ""
        found = [f"the episode of seed {seed} ended without {', '.join(missing)}{failed}"] if missing else []
        found += [f"{', '.join(undeclared)} not declared (higher is assumed to be better)"] if undeclared else []
        if found:
            decides = deciding(self.declared, (*self.reported, SUCCESS, *COUNTED))
            text = f'{env_id(self.env)}, metadata["scores"]: {"; ".join(found)}; the main score is {decides}'
            warnings.warn(text, stacklevel=3)


def env_id(env: Any) -> str:
    """Return the registered id of an environment, or the name of its class."""
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else type(env).__name__
