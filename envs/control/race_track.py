"""A race track for imitation: the expert never errs, so its drives do not show how to correct an error."""

from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.envs import SPLIT_SIZE, Info, Observation, Split, State, content_digest, level_seed
from embodia.envs.control.options import RaceTrackOptions

RADIUS = 5.0  # mean radius of the track [m]
HALF_WIDTH = 0.6  # [m]
POINTS = 400  # points of the centre line
SPEED, TURN = 2.0, 3.0  # [m/s], highest turn rate [rad/s]
STEP = 0.1  # [s]
LOOKAHEAD = 0.6  # of the expert [m]
PREVIEW = np.array([0.0, 0.5, 1.0, 1.5, 2.0])  # distances ahead at which the curvature is observed [m]
PIXELS = 40  # per metre in images

Points = NDArray[np.float64]


class RaceTrackEnv(gym.Env[Observation, NDArray[Any]]):
    """A car at constant speed on a closed track; it must stay between the edges.

    Task: drive along the track for `max_steps` steps. A car that leaves the track stands still for the rest of the
    episode, so all episodes have the same length, and a learned reward cannot favour long ones. Each level has its own
    track and start, on the centre line. The expert stays within a few centimetres of it, so a clone of its drives does
    not learn to correct the errors that it makes (Ross, Gordon & Bagnell 2011). `reset(seed=s)` plays level
    `envs.level_seed(split, s)`.

    Actions: Box(-1, 1, (1,)): turn rate in units of 3 rad/s, positive to the left. The speed is 2 m/s, a step 0.1 s.

    Observations: `state` float32 (8,): distance from the centre line in units of half the width (0.6 m), positive to
    the left; sine and cosine of the heading error; twice the curvature of the track at 0, 0.5, 1, 1.5 and 2 m ahead
    [1/m].

    Reward: distance gained along the track, as a share of that of a car on the centre line for the whole episode.
    Truncation: after `max_steps`; there is no termination.

    Scores: `progress` (the main score) is the sum of rewards, about 1 for a whole drive; `success` is 1 if the car
    never left the track.

    Args:
        max_steps: Length of an episode in steps.
        split: Set of levels.
        render_mode: "rgb_array" or None.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's own form)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "scores": {"progress": "higher", "success": "higher"},
    }
    Options = RaceTrackOptions

    def __init__(self, max_steps: int = 150, split: Split = "train", render_mode: str | None = "rgb_array"):
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps}: give at least 1")
        self.max_steps, self.split, self.render_mode = max_steps, split, render_mode
        self.observation_space: spaces.Dict = spaces.Dict(  # type: ignore[assignment]
            {"state": spaces.Box(-np.inf, np.inf, (3 + len(PREVIEW),), np.float32)}
        )
        self.action_space: spaces.Box = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._drive_on(circle())
        self.steps, self.crashed, self.progress = 0, False, 0.0
        self._place(self.line[0], 0.0)

    def _drive_on(self, line: Points) -> None:
        """Take a closed centre line (POINTS, 2) [m], evenly spaced."""
        self.line = line
        ahead = np.roll(line, -1, 0) - line
        self.spacing = float(np.linalg.norm(ahead, axis=1).mean())
        self.direction = np.arctan2(ahead[:, 1], ahead[:, 0])
        curvature = wrapped(np.roll(self.direction, -1) - self.direction) / self.spacing
        ahead = np.arange(POINTS)[:, None] + np.round(PREVIEW / self.spacing).astype(int)
        self.preview = 2 * curvature[ahead % POINTS]  # (POINTS, 5)

    def _place(self, position: Points, heading: float) -> None:
        """Put the car at a position, and find the nearest point of the centre line and the distance from it."""
        self.position, self.heading = position, heading
        away = position - self.line
        self.at = int((away[:, 0] ** 2 + away[:, 1] ** 2).argmin())
        towards = self.direction[self.at]
        self.offset = float(away[self.at, 1] * np.cos(towards) - away[self.at, 0] * np.sin(towards))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start level `seed` of the split. Without a seed, sample a level with the environment's own generator."""
        super().reset(seed=seed)
        number = int(self.np_random.integers(SPLIT_SIZE)) if seed is None else seed
        rng = np.random.default_rng(level_seed(self.split, number))
        self._drive_on(draw_track(rng))
        at = int(rng.integers(POINTS))
        self._place(self.line[at], float(self.direction[at]))
        self.steps, self.crashed, self.progress = 0, False, 0.0
        return self._observe(), {"level": f"RaceTrack/{content_digest(self.line, self.position, self.heading)}"}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        given = np.asarray(action, np.float64)
        if given.shape != (1,) or not np.isfinite(given).all():
            raise ValueError(f"embodia/RaceTrack-v0: action {action!r} is not in {self.action_space}")
        reward = 0.0
        if not self.crashed:
            before, heading = self.at, self.heading + STEP * TURN * float(np.clip(given[0], -1, 1))
            self._place(self.position + STEP * SPEED * np.array([np.cos(heading), np.sin(heading)]), heading)
            gained = (self.at - before + POINTS // 2) % POINTS - POINTS // 2
            reward = gained * self.spacing / (SPEED * STEP * self.max_steps)
            self.crashed = abs(self.offset) > HALF_WIDTH
        self.progress += reward
        self.steps += 1
        return self._observe(), reward, False, self.steps >= self.max_steps, {"metrics": self.metrics()}

    def metrics(self) -> dict[str, float]:
        """Return the scores of the episode so far."""
        return {"progress": self.progress, "success": float(not self.crashed)}

    def expert_action(self) -> NDArray[np.float32]:
        """Return the turn rate of pure pursuit (Coulter 1992): on a circle through a point ahead on the centre line."""
        target = self.line[(self.at + round(LOOKAHEAD / self.spacing)) % POINTS] - self.position
        angle = wrapped(np.arctan2(target[1], target[0]) - self.heading)
        rate = 2 * SPEED * np.sin(angle) / np.linalg.norm(target)
        return np.array([np.clip(rate / TURN, -1, 1)], np.float32)

    def get_state(self) -> State:
        return {
            "line": self.line.copy(),
            "position": self.position.copy(),
            "heading": self.heading,
            "steps": self.steps,
            "crashed": self.crashed,
            "progress": self.progress,
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: State) -> Observation:
        self._drive_on(state["line"].copy())
        self._place(state["position"].copy(), state["heading"])
        self.steps, self.crashed, self.progress = state["steps"], state["crashed"], state["progress"]
        self.np_random.bit_generator.state = state["generator"]
        return self._observe()

    def render(self) -> NDArray[np.uint8]:
        """Return the track from above, with the car as an arrow; red after it has left the track."""
        side = int(2 * (RADIUS + 3) * PIXELS)

        def pixels(points: Points) -> NDArray[np.int32]:
            scaled: NDArray[np.int32] = np.round(points * [PIXELS, -PIXELS] + side / 2).astype(np.int32)
            return scaled

        image = np.full((side, side, 3), (90, 140, 80), np.uint8)
        cv2.polylines(image, [pixels(self.line)], True, (70, 70, 70), int(2 * HALF_WIDTH * PIXELS), cv2.LINE_AA)
        cv2.polylines(image, [pixels(self.line)], True, (220, 220, 220), 1, cv2.LINE_AA)
        nose = self.position + 0.5 * np.array([np.cos(self.heading), np.sin(self.heading)])
        start, end = pixels(self.position).tolist(), pixels(nose).tolist()
        cv2.arrowedLine(image, start, end, (255, 40, 40) if self.crashed else (255, 220, 0), 6, cv2.LINE_AA, 0, 0.4)
        return image

    def _observe(self) -> Observation:
        error = self.heading - self.direction[self.at]
        pose = [self.offset / HALF_WIDTH, np.sin(error), np.cos(error)]
        return {"state": np.array([*pose, *self.preview[self.at]], np.float32)}


def wrapped(angle: Any) -> Any:
    """Return angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def circle() -> Points:
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    return RADIUS * np.stack([np.cos(angle), np.sin(angle)], 1)


def draw_track(rng: np.random.Generator) -> Points:
    """Sample a closed centre line (POINTS, 2) [m], evenly spaced: a circle whose radius varies with three harmonics."""
    angle = np.linspace(0, 2 * np.pi, 4 * POINTS, endpoint=False)
    radius = np.ones_like(angle)
    for harmonic, most in ((2, 0.25), (3, 0.15), (4, 0.1)):
        radius += rng.uniform(-most, most) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    dense = RADIUS * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(dense, axis=0, append=dense[:1]), axis=1).cumsum()])
    even = np.linspace(0, lengths[-1], POINTS, endpoint=False)
    closed = np.concatenate([dense, dense[:1]])
    return np.stack([np.interp(even, lengths, closed[:, axis]) for axis in (0, 1)], 1)
