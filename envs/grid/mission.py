"""Missions as tokens, with one fixed vocabulary for all MiniGrid and BabyAI instructions.

The words are those of minigrid's mission templates and of the BabyAI grammar (Chevalier-Boisvert et al., "BabyAI", ICLR
2019, Figure 2): verbs, the four object types and "object", six colours, four locations, and the connectives. Token 0 is
padding; the comma of ", then" is a separate token.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORDS: tuple[str, ...] = (
    *("<pad>", ",", "a", "the", "and", "then", "after", "you", "your", "to", "of", "at", "from"),
    *("on", "in", "up", "next", "near", "left", "right", "front", "behind"),
    *("go", "get", "fetch", "pick", "put", "open", "unlock", "use", "find", "avoid", "reach", "traverse", "must"),
    *("red", "green", "blue", "purple", "yellow", "grey", "matching"),
    *("object", "box", "ball", "key", "door", "goal", "square", "lava", "opening"),
    *("room", "rooms", "maze", "hallway", "end"),
)
"""Token i means WORDS[i]."""

TOKENS: dict[str, int] = {word: token for token, word in enumerate(WORDS)}

MINIGRID_LENGTH = 20
"""Maximum number of tokens of a MiniGrid mission. The longest is LockedRoom's, 17 words and a comma."""

BABYAI_LENGTH = 72
"""Maximum number of tokens of a BabyAI mission.

The longest is four times "put the <colour> <type> in front of you next to ..." of 17 words, with "and", "and", "after
you".
"""


def mission_length(task: str) -> int:
    """Return the number of tokens (with padding) in missions of a minigrid id."""
    return BABYAI_LENGTH if task.startswith("BabyAI-") else MINIGRID_LENGTH


@lru_cache(maxsize=4096)
def _tokens(mission: str, length: int) -> tuple[int, ...]:
    words = mission.replace(",", " ,").split()
    unknown = [word for word in words if word not in TOKENS]
    if unknown:
        raise ValueError(
            f"mission {mission!r}: {unknown[0]!r} is not in embodia.envs.grid.mission.WORDS; add it at the end"
        )
    if len(words) > length:
        raise ValueError(f"mission {mission!r} has {len(words)} words; mission_length={length} is too short")
    return tuple(TOKENS[word] for word in words) + (0,) * (length - len(words))


def encode_mission(mission: str, length: int) -> NDArray[np.int64]:
    """Return tokens (length,) int64, padded with 0.

    Raises:
        ValueError: If a word is unknown or the mission is longer than `length`.
    """
    return np.array(_tokens(mission, length), np.int64)


def decode_mission(tokens: NDArray[np.int64]) -> str:
    """Return the mission of tokens from `encode_mission`."""
    return " ".join(WORDS[token] for token in tokens if token).replace(" ,", ",")
