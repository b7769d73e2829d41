"""The Wall environment of DINO-WM (Zhou et al. 2024): a dot must pass a door to reach a goal in the other room.

Sizes and the random policy are those of the official evaluation (`WallDatasetConfig` with the values of
`WallEnvWrapper`). Differences: 64 pixels instead of 65, and a dot stops at a wall, where the original moves it half a
pixel back.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.stats import truncnorm

from embodia.envs import SPLIT_SIZE, Info, Observation, Split, State, content_digest, level_seed
from embodia.envs.control.options import WallOptions

SIZE = 64  # side of the square image [pixels]
BORDER = 5.0  # distance from the image's edge to the outer wall [pixels]
DOT = 1.7  # standard deviation of the drawn dot [pixels]
STEP = 2.0  # distance of a move of length 1 [pixels]
LONGEST = 1.8  # maximum length of a move
MARGIN, DOOR_MARGIN = 20, 10  # minimum distance of wall and door from the image's edge [pixels]
HALF_DOOR, HALF_WALL = 4.0, 3.0  # half the width of the door and of the wall [pixels]
RADIUS = 4.5  # distance within which the goal counts as reached [pixels]
LENGTH, SPREAD, SHORTEST = 1.0, 0.4, 0.2  # lengths of the random policy's moves: mean, standard deviation, minimum
CONCENTRATION = 5.0  # concentration of the random policy's turns (von Mises)

Points = NDArray[np.float64]


class WallEnv(gym.Env[Observation, NDArray[Any]]):
    """A dot in two rooms with one door between them.

    Task: reach the goal, which is in the other room. With `layout="fixed"`, wall and door are always in the same place
    (the paper's Wall); with "random", each level has its own (WallRandom). `reset(seed=s)` plays level
    `envs.level_seed(split, s)`.

    Actions: Box(-1, 1, (2 * frameskip,)): `frameskip` moves (dx, dy), executed in sequence, in units of the longest
    move, 3.6 pixels. Longer moves are shortened. A dot that hits a wall stops there.

    Observations: `rgb` uint8 (64, 64, 3), the rooms in black and white and the dot in red; `goal_rgb`, the same image
    with the dot at the goal; `position` and `goal_position` float32 (2,) [pixels], x to the right, y down.

    Reward: 1 for reaching the goal, else 0. Termination: within 4.5 pixels of the goal. Truncation: after `max_steps`.

    Scores: `success` (the main score), `return`, and `distance` to the goal at the end [pixels], for which lower is
    better.

    Args:
        layout: "fixed" or "random".
        frameskip: Number of moves per action.
        max_steps: Time limit in steps.
        split: Set of levels.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: If an option is invalid.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's own form)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "scores": {"success": "higher", "return": "higher", "distance": "lower"},
    }
    Options = WallOptions

    def __init__(
        self,
        layout: Literal["fixed", "random"] = "fixed",
        frameskip: int = 5,
        max_steps: int = 20,
        split: Split = "train",
        render_mode: str | None = "rgb_array",
    ):
        if layout not in ("fixed", "random") or frameskip < 1 or max_steps < 1:
            raise ValueError(f"layout={layout!r}, frameskip={frameskip}, max_steps={max_steps}: choose fixed or random "
                             "and give at least 1")  # fmt: skip
        self.layout, self.frameskip, self.max_steps, self.split = layout, frameskip, max_steps, split
        self.render_mode = render_mode
        picture, place = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8), spaces.Box(0, SIZE, (2,), np.float32)
        parts: dict[str, spaces.Space[Any]] = {
            "rgb": picture,
            "goal_rgb": picture,
            "position": place,
            "goal_position": place,
        }
        self.observation_space: spaces.Dict = spaces.Dict(parts)  # type: ignore[assignment]
        self.action_space: spaces.Box = spaces.Box(-1.0, 1.0, (2 * frameskip,), np.float32)
        self.wall, self.door = float(SIZE // 2), float(SIZE // 2)
        self.position, self.goal = np.zeros(2), np.zeros(2)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start level `seed` of the split. Without a seed, sample a level with the environment's own generator."""
        super().reset(seed=seed)
        number = int(self.np_random.integers(SPLIT_SIZE)) if seed is None else seed
        rng = np.random.default_rng(level_seed(self.split, number))
        self.wall, self.door = draw_layout(rng) if self.layout == "random" else (SIZE / 2, SIZE / 2)
        left = bool(rng.integers(2))
        self.position = draw_place(rng, self.wall, left)
        self.goal = draw_place(rng, self.wall, not left)
        self.steps = 0
        level = f"Wall/{self.layout}/{content_digest(self.wall, self.door, self.position, self.goal)}"
        return self._observe(), {"level": level}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        moves = np.asarray(action, np.float64)
        if moves.shape != self.action_space.shape or not np.isfinite(moves).all():
            raise ValueError(f"embodia/Wall-v0: action {action!r} is not in {self.action_space}")
        for move in LONGEST * moves.reshape(-1, 2):
            self.position = advance(self.position, shorten(move), self.wall, self.door)
        self.steps += 1
        metrics = self.metrics()
        reached = bool(metrics["success"])
        late = self.steps >= self.max_steps and not reached
        return self._observe(), float(reached), reached, late, {"metrics": metrics}

    def metrics(self) -> dict[str, float]:
        """Return the scores of the episode so far."""
        distance = float(np.linalg.norm(self.position - self.goal))
        reached = float(distance < RADIUS)
        return {"success": reached, "return": reached, "distance": distance}

    def expert_action(self) -> NDArray[np.float32]:
        """Return moves straight to the door if the goal is behind it, then straight to the goal."""
        position, moves = self.position, []
        for _ in range(self.frameskip):
            offset = self._next_target(position) - position
            moves.append(shorten(offset / STEP))
            position = advance(position, moves[-1], self.wall, self.door)
        return (np.concatenate(moves) / LONGEST).astype(np.float32)

    def _next_target(self, position: Points) -> Points:
        ahead = np.sign(self.goal[0] - self.wall)
        if ahead * (position[0] - self.wall) > HALF_WALL + 1:  # clear of the door's posts
            return self.goal
        clear = (HALF_WALL + 2) * ahead
        if abs(position[1] - self.door) < HALF_DOOR - 0.5:
            return np.array([self.wall + clear, self.door])
        return np.array([self.wall - clear, self.door])

    def get_state(self) -> State:
        return {
            "layout": (self.wall, self.door),
            "position": self.position.copy(),
            "goal": self.goal.copy(),
            "steps": self.steps,
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: State) -> Observation:
        self.wall, self.door = state["layout"]
        self.position, self.goal, self.steps = state["position"].copy(), state["goal"].copy(), state["steps"]
        self.np_random.bit_generator.state = state["generator"]
        return self._observe()

    def render(self) -> NDArray[np.uint8]:
        """Return the image of the agent next to that of the goal, enlarged four times."""
        both = np.concatenate([self._picture(self.position), self._picture(self.goal)], 1)
        return both.repeat(4, 0).repeat(4, 1)

    def _observe(self) -> Observation:
        return {
            "rgb": self._picture(self.position),
            "goal_rgb": self._picture(self.goal),
            "position": self.position.astype(np.float32),
            "goal_position": self.goal.astype(np.float32),
        }

    def _picture(self, position: Points) -> NDArray[np.uint8]:
        return draw(position[None], self.wall, self.door)[0]


def draw_layout(rng: np.random.Generator) -> tuple[float, float]:
    """Sample the x of the wall and the y of the door [pixels]."""
    return float(rng.integers(MARGIN, SIZE - MARGIN + 1)), float(rng.integers(DOOR_MARGIN, SIZE - DOOR_MARGIN + 1))


def draw_place(rng: np.random.Generator, wall: float, left: bool) -> Points:
    """Sample a position in a room, at least two standard deviations of the dot from its walls."""
    off = 2 * DOT
    low, high = (BORDER, wall - HALF_WALL) if left else (wall + HALF_WALL, SIZE - BORDER)
    return np.array([rng.uniform(low + off, high - off), rng.uniform(BORDER + off, SIZE - BORDER - off)])


def shorten(move: Points) -> Points:
    """Limit moves (*B, 2) to the maximum length."""
    return move * np.minimum(1.0, LONGEST / np.maximum(np.linalg.norm(move, axis=-1, keepdims=True), 1e-9))


def advance(position: Points, move: Points, wall: float, door: float) -> Points:
    """Return the positions (*B, 2) after moves (*B, 2). A dot stops where it hits a wall."""
    travel = STEP * move
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.where(travel > 0, SIZE - BORDER, BORDER) - position
        border = np.where(travel == 0, np.inf, ahead / travel).min(-1)
        share = np.minimum(border, wall_contact(position, travel, wall, door))
    return position + share.clip(0, 1)[..., None] * travel


def wall_contact(position: Points, travel: Points, wall: float, door: float) -> Points:
    """Return the fraction (*B,) of `travel` (*B, 2) at which the dot hits the middle wall; inf if it does not.

    The wall is two blocks, above and below the door. The path enters a block when it is inside on both axes.
    """
    found = np.full(position.shape[:-1], np.inf)
    for low, high in ((-np.inf, door - HALF_DOOR), (door + HALF_DOOR, np.inf)):
        # Division by zero gives the correct infinities for no motion along an axis, inside or outside a block.
        one = (np.array([wall - HALF_WALL, low]) - position) / travel
        other = (np.array([wall + HALF_WALL, high]) - position) / travel
        enter, leave = np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)
        hit = (enter < leave) & (leave > 1e-9) & (enter < 1)
        found = np.where(hit, np.minimum(found, enter - 1e-6), found)
    return found


def draw(positions: Points, wall: float, door: float) -> NDArray[np.uint8]:
    """Return images (M, 64, 64, 3) with the dot at positions (M, 2) [pixels]: a red Gaussian over the rooms."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    edge = int(BORDER)
    black = np.zeros((SIZE, SIZE), bool)
    black[edge - 1 : SIZE - edge + 1, [edge - 1, SIZE - edge]] = True
    black[[edge - 1, SIZE - edge], edge - 1 : SIZE - edge + 1] = True
    inside = (y > edge) & (y < SIZE - edge)
    black |= (np.abs(x - wall) <= HALF_WALL + 1e-9) & (np.abs(y - door) > HALF_DOOR) & inside
    squared = (x - positions[:, 0, None, None]) ** 2 + (y - positions[:, 1, None, None]) ** 2
    ink = np.exp(-squared / (2 * DOT**2))[..., None]
    rooms = np.where(black, 0.0, 255.0)[..., None]
    return np.round(rooms * (1 - ink) + np.array([255.0, 0.0, 0.0]) * ink).astype(np.uint8)


def random_moves(rng: np.random.Generator, trajectories: int, steps: int) -> Points:
    """Sample moves (M, T, 2) of the random policy: a randomly turning heading and truncated normal lengths."""
    turn = rng.vonmises(0.0, CONCENTRATION, (trajectories, steps - 1)).cumsum(1)
    first = rng.uniform(0, 2 * np.pi, (trajectories, 1))
    heading = np.concatenate([first, first + turn], 1)
    ends = (SHORTEST - LENGTH) / SPREAD, (LONGEST - LENGTH) / SPREAD
    length = truncnorm.rvs(*ends, LENGTH, SPREAD, (trajectories, steps), random_state=rng)
    return length[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
