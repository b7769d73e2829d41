"""A policy that somebody trained with Stable-Baselines3 itself, read from the .zip that its `save` wrote."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry
from embodia.agents.references.untrained import Untrained

Algorithm = Literal["ppo", "a2c", "dqn", "sac", "td3", "ddpg"]


@dataclass(frozen=True)
class SB3FileConfig:
    """A .zip of Stable-Baselines3. It holds pickles, which run code when they are read: use files that you trust."""

    path: str = ""
    """The file that `model.save` wrote."""
    algo: Algorithm = "ppo"
    """The algorithm that wrote it."""


class SB3File(Untrained):
    """Acts as the stored policy does.

    A policy on single arrays is given the environment's only observation, or the one whose space is its own.

    Raises:
        ValueError: if the file cannot be read as this algorithm's, or its spaces are not the environment's.
    """

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], config: SB3FileConfig | None = None
    ):
        import stable_baselines3

        config = config or SB3FileConfig()
        if not config.path:
            raise ValueError("name the file: embodia eval FILE.zip --algo ppo --env ID")
        self.observation_space, self.action_space = observation_space, action_space
        try:
            if not zipfile.is_zipfile(config.path):
                raise ValueError("it is no .zip file")
            self.model = getattr(stable_baselines3, config.algo.upper()).load(config.path, device="cpu")
        except Exception as error:  # whatever unpickling another version's file raises
            raise ValueError(
                f"{config.path} cannot be read as {config.algo.upper()} of Stable-Baselines3 "
                f"{stable_baselines3.__version__}: {type(error).__name__}: {error}"
            ) from error
        self.key = self.key_of(self.model.observation_space)
        if self.model.action_space != action_space:
            raise ValueError(f"its action space is {self.model.action_space}, but the environment's is {action_space}")

    def key_of(self, read: spaces.Space[Any]) -> str | None:
        """The observation that a policy on single arrays reads; None for a policy on dicts."""
        if isinstance(read, spaces.Dict):
            missing = {key for key in read if self.observation_space.spaces.get(key) != read[key]}
            if missing:
                raise ValueError(
                    f"it reads {', '.join(sorted(missing))}, which the environment does not give like that"
                )
            return None
        fitting = [key for key, space in self.observation_space.items() if space == read]
        if len(fitting) != 1:
            raise ValueError(f"it reads {read}, and {len(fitting)} of the environment's observations are like that")
        return fitting[0]

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: str
    ) -> tuple[Array, Carry, dict[str, Array]]:
        reads = self.model.observation_space
        seen: Any = {key: obs[key] for key in reads} if isinstance(reads, spaces.Dict) else obs[self.key or ""]
        action, _ = self.model.predict(seen, deterministic=mode == "eval")
        return np.asarray(action, self.action_space.dtype), carry, {}
