"""Small environments and agents for tests, with known optimal results."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from embodia.agents import Agent
from embodia.agents.training.buffers.no_buffer import NoBuffer


class CountingEnv(gym.Env):
    """Counts its steps; observations are the count and the level's seed; an episode has `length` steps.

    It terminates for even seeds and is truncated for odd ones. The reward is the count, the expert's action count % 3.
    `broken` is the fault at step 3 of any episode: "raise", "nan_obs", "nan_reward", "die", "odd_error".
    """

    metadata = {"render_modes": ["rgb_array"], "scores": {"success": "higher", "count": "lower"}}  # noqa: RUF012

    def __init__(self, length: int = 5, broken: str | None = None, broken_seed: int | None = None):
        self.length, self.broken, self.broken_seed = length, broken, broken_seed
        self.render_mode = "rgb_array"
        self.observation_space = spaces.Dict(
            {"count": spaces.Box(0, np.inf, (1,), np.float32), "seed": spaces.Box(0, 2**31, (1,), np.int64)}
        )
        self.action_space = spaces.Discrete(3)
        self.count, self.level = 0, 0

    def _obs(self) -> dict[str, Any]:
        return {"count": np.array([self.count], np.float32), "seed": np.array([self.level], np.int64)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.level = int(self.np_random.integers(1000)) if seed is None else seed
        self.count = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        obs, reward = self._obs(), float(self.count)
        if self.count == 3 and self.broken_seed in (None, self.level):
            obs, reward = self._break(obs, reward)
        over = self.count >= self.length
        info = {"metrics": {"success": 1 if self.level % 2 == 0 else 0.5, "count": self.count}} if over else {}
        return obs, reward, over and self.level % 2 == 0, over and self.level % 2 == 1, info

    def _break(self, obs: Any, reward: float) -> Any:
        if self.broken == "raise":
            raise ValueError("the simulator broke")
        if self.broken == "odd_error":
            raise Unpicklable("an error that stays at home")
        if self.broken == "die":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        if self.broken == "hang":
            import time

            time.sleep(60)
        if self.broken == "nan_obs":
            obs["count"][0] = np.nan
        return obs, np.nan if self.broken == "nan_reward" else reward

    def expert_action(self) -> int:
        assert self.count < self.length, "the expert was asked after the end"
        return self.count % 3

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count, "level": self.level, "rng": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> Any:
        self.count, self.level = state["count"], state["level"]
        self.np_random.bit_generator.state = state["rng"]
        return self._obs()

    def render(self) -> Any:
        return np.full((8, 8, 3), self.count, np.uint8)


class Unpicklable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, message: str):
        super().__init__(message)
        self.lock = __import__("threading").Lock()

    def __reduce__(self) -> Any:
        raise TypeError("stays at home")


class CountingAgent(Agent):
    """An agent whose carry counts the rows since `first` and must equal the environment's count.

    It detects errors of a loop, buffer or evaluation in passing memory on, resetting it or replaying rows.
    """

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any]):
        self.observation_space, self.action_space = observation_space, action_space
        self.rows = 0

    def initial(self, n: int) -> Any:
        return {"count": np.full(n, -1)}

    def act(self, obs: Any, carry: Any, first: Any, mode: Any) -> Any:
        count = np.where(first, 0, carry["count"] + 1)
        np.testing.assert_array_equal(count, obs["count"][:, 0], err_msg="the carry is not the environment's memory")
        self.rows += len(first)
        return np.zeros(len(first), np.int64), {"count": count}, {"count": count}

    def buffer(self) -> NoBuffer:
        return NoBuffer()

    def update(self, batch: Any) -> dict[str, float]:
        return {}

    def save(self, folder: Path) -> None:
        (folder / "agent.safetensors").write_bytes(b"")

    def load(self, folder: Path) -> None:
        pass


class EverySpaceEnv(gym.Env):
    """One observation key for every kind of space with a fixed shape, also nested; any action space.

    `pair` adds a Tuple, which Gymnasium allows but the contract of an observation (a dict of arrays) does not.
    """

    def __init__(self, action_space: spaces.Space[Any] | None = None, pair: bool = True):
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
                "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
                "bounded": spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
                "tokens": spaces.Box(0, 100, (6,), np.int64),
                "one_of": spaces.Discrete(5, start=-2),
                "several": spaces.MultiDiscrete([2, 3, 4]),
                "bits": spaces.MultiBinary(4),
                "nested": spaces.Dict({"deep": spaces.Box(0, 1, (2,), np.float32)}),
            }
        )
        if pair:
            self.observation_space["pair"] = spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,), np.float32)))
        self.action_space = action_space or spaces.Discrete(4)
        self.steps = 0

    def _obs(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.steps += 1
        return self._obs(), 0.0, False, self.steps >= 4, {}


class IdentityEnv(gym.Env):
    """Reward 1 for the action that equals the observation (continuous: minus the squared distance to it).

    The optimal return of an episode of `length` steps is `length` for discrete actions and 0 for continuous ones.
    """

    metadata = {"scores": {"success": "higher"}}  # noqa: RUF012

    def __init__(self, n: int = 4, length: int = 8, continuous: bool = False):
        self.n, self.length, self.continuous = n, length, continuous
        shown = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.Box(0, 1, (n,), np.float32)
        self.observation_space = spaces.Dict({"shown": shown})
        self.action_space = shown if continuous else spaces.Discrete(n)

    def _show(self) -> Any:
        if self.continuous:
            self.target = self.np_random.uniform(-1, 1, 2).astype(np.float32)
            return {"shown": self.target}
        self.target = int(self.np_random.integers(self.n))
        return {"shown": np.eye(self.n, dtype=np.float32)[self.target]}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.continuous:
            reward, hit = -float(np.square(action - self.target).sum()), 0.0
        else:
            hit = reward = float(action == self.target)
        over = self.steps >= self.length
        return self._show(), reward, False, over, {"metrics": {"success": hit}} if over else {}

    def expert_action(self) -> Any:
        return self.target

    def get_state(self) -> dict[str, Any]:
        return {"target": self.target, "steps": self.steps, "rng": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> Any:
        self.target, self.steps = state["target"], state["steps"]
        self.np_random.bit_generator.state = state["rng"]
        return {"shown": self.target if self.continuous else np.eye(self.n, dtype=np.float32)[self.target]}


class CueEnv(gym.Env):
    """A cue is visible only at the start and must be repeated three steps later, which requires memory."""

    def __init__(self):
        self.observation_space = spaces.Dict({"cue": spaces.Box(0, 1, (3,), np.float32)})
        self.action_space = spaces.Discrete(2)

    def _obs(self):
        shown = self.steps == 0
        return {"cue": np.array([shown and self.cue == 0, shown and self.cue == 1, self.steps == 3], np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.cue = 0, int(self.np_random.integers(2))
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == 4
        right = float(action == self.cue)
        return self._obs(), right if over else 0.0, over, False, {"metrics": {"success": right}} if over else {}

    def expert_action(self):
        return self.cue


class Named(CountingEnv):
    """Its levels have names: one for every ten seeds."""

    begun: list[str] = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        name = f"place {self.level // 10}"
        self.begun.append(name)
        return obs, {"level": name}


class Shown(gym.Env):
    """Shows what it is given, under a space for three bytes and one number."""

    observation_space = spaces.Dict(
        {"bytes": spaces.Box(0, 255, (3,), np.uint8), "x": spaces.Box(-1, 1, (), np.float32)}
    )
    action_space = spaces.Discrete(2)

    def __init__(self, shown):
        self.shown = shown

    def reset(self, *, seed=None, options=None):
        return {"bytes": np.zeros(3, np.uint8), "x": np.float32(0)}, {}

    def step(self, action):
        return self.shown, 0.0, False, False, {}
