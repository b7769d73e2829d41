"""Following a field of costs with discrete actions: turn by a fixed angle, or step forward.

A body at (row, column) with yaw a looks along (-cos a, -sin a); a left turn adds to the yaw.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.compiled import compiled

Array = NDArray[Any]


def turns_and_step(
    to_go: Array, cost: Array, place: ArrayLike, yaw: float, forward: float, turn: float, turn_cost: float
) -> int | None:
    """Return the best "n turns, then one step": n, positive to the left. None if no step can be taken.

    Args:
        to_go: Cost of the cheapest path from each cell to the goal (H, W).
        cost: Cost of each cell (H, W).
        place: Where the body is, (row, column) with fractions.
        yaw: Where it looks [rad].
        forward: Length of a step [cells].
        turn: Angle of a turn [rad].
        turn_cost: What a turn costs.
    """
    row, column = np.asarray(place, np.float64)
    best = _best_turns(to_go, cost, row, column, yaw, forward, turn, turn_cost)
    return None if best == NO_STEP else int(best)


NO_STEP = 10_000


@compiled
def _best_turns(
    to_go: Array, cost: Array, row: float, column: float, yaw: float, forward: float, turn: float, turn_cost: float
) -> int:
    rows, columns = to_go.shape
    best, lowest = NO_STEP, np.inf
    most = round(np.pi / turn)
    samples = int(np.ceil(forward))
    for count in range(most + 1):
        for side in (1, -1):
            if count == 0 and side == -1:
                continue
            angle = yaw + side * count * turn
            down, right = -np.cos(angle), -np.sin(angle)
            walked = 0.0
            for k in range(1, samples + 1):
                r = int(np.floor(row + down * forward * k / samples))
                c = int(np.floor(column + right * forward * k / samples))
                if r < 0 or c < 0 or r >= rows or c >= columns:
                    walked = np.inf
                else:
                    walked += cost[r, c] * forward / samples
            r, c = int(np.floor(row + down * forward)), int(np.floor(column + right * forward))
            if not np.isfinite(walked):
                continue
            score = to_go[r, c] + walked + turn_cost * count
            if score < lowest:
                best, lowest = side * count, score
    return best
