"""Missions as tokens: one fixed vocabulary for every MiniGrid and BabyAI instruction.

The words are those of minigrid's mission templates and of the BabyAI grammar (Chevalier-Boisvert et al., "BabyAI",
ICLR 2019, Figure 2): verbs, the four object types and "object", six colours, four places, and the connectives.
Token 0 pads; the comma of ", then" is a word of its own.
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
"""Longest MiniGrid mission is LockedRoom's, 17 words and a comma."""

BABYAI_LENGTH = 72
"""Longest BabyAI instruction: four "put the <colour> <type> in front of you next to ..." of 17 words, "and", "and",
"after you"."""


def mission_length(task: str) -> int:
    """Tokens in the missions of a minigrid id."""
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
    """(length,) int64 tokens, padded with 0. Raises ValueError for an unknown word or too long a mission."""
    return np.array(_tokens(mission, length), np.int64)


def decode_mission(tokens: NDArray[np.int64]) -> str:
    """The mission that `encode_mission` was given."""
    return " ".join(WORDS[token] for token in tokens if token).replace(" ,", ",")
