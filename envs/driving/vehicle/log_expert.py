"""The logged driver as an expert: from any state its trajectory returns to the recorded way and time."""

import numpy as np

from embodia.envs.driving.map.geometry import wrap_angle
from embodia.envs.driving.types import Floats

STEP = 0.5  # [m] between poses of the way driven
SEARCH = 40.0  # [m] of way in which the ego is sought, before and behind where the log is
BEYOND = 150.0  # [m] the way goes straight on beyond the log's end
CATCH_UP = 0.5  # [1/s] share of a lead or lag that is made up for


class LogExpert:
    """A logged drive: its way by arc length, and the log's progress along it at every frame."""

    def __init__(self, poses: Floats):
        """poses (F, 3) of the rear axle, 0.1 s apart from iteration 0 on."""
        moved = np.hypot(*np.diff(poses[:, :2], axis=0).T)
        self.arc = np.concatenate([[0.0], np.cumsum(moved)])  # (F,) [m]
        distinct = np.concatenate([[True], moved > 1e-6])
        way = poses[distinct].copy()
        way[:, 2] = np.unwrap(way[:, 2])
        last = way[-1]
        end = [last[0] + BEYOND * np.cos(last[2]), last[1] + BEYOND * np.sin(last[2]), last[2]]
        s = np.append(self.arc[distinct], self.arc[-1] + BEYOND)
        table = np.arange(0.0, s[-1], STEP)
        self.way = np.stack([np.interp(table, s, np.append(way[:, k], end[k])) for k in range(3)], -1)  # (P, 3)

    def at(self, s: Floats) -> Floats:
        """(..., 3) poses of the way, headings not wrapped."""
        place = np.clip(s / STEP, 0, len(self.way) - 1.001)
        low = place.astype(int)
        return self.way[low] + (place - low)[..., None] * (self.way[low + 1] - self.way[low])

    def project(self, point: Floats, near: float) -> float:
        """[m] along the way of the place nearest to a point (2,)."""
        first = max(0, int((near - SEARCH) / STEP))
        window = self.way[first : int((near + SEARCH) / STEP) + 2]
        index = int(np.argmin(((window[:, :2] - point) ** 2).sum(-1)))
        x, y, heading = window[index]
        along = np.cos(heading) * (point[0] - x) + np.sin(heading) * (point[1] - y)
        return max(0.0, (first + index) * STEP + float(np.clip(along, -STEP, STEP)))

    def plan(self, t: int, ego: Floats, times: Floats) -> Floats:
        """`ahead` in the ego's frame."""
        return local_poses(self.ahead(t, ego, times), ego)

    def ahead(self, t: int, ego: Floats, times: Floats) -> Floats:
        """Poses (K, 3) at times (K,) [s] from now, for an ego state (>= 3,) at iteration t.

        They lie on the way driven, the first beside the ego; a lag behind the log decays exponentially in time.
        """
        now = min(t, len(self.arc) - 1)
        s = self.project(ego[:2], self.arc[now])
        frames = np.minimum(t + np.round(times / 0.1).astype(int), len(self.arc) - 1)
        lag = self.arc[now] - s
        return self.at(np.maximum.accumulate(np.maximum(self.arc[frames] - lag * np.exp(-CATCH_UP * times), s)))


def local_poses(poses: Floats, ego: Floats) -> Floats:
    """Poses (K, 3) of the map in the frame of an ego state (>= 3,)."""
    x, y = poses[:, 0] - ego[0], poses[:, 1] - ego[1]
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    return np.stack([cos * x + sin * y, cos * y - sin * x, wrap_angle(poses[:, 2] - ego[2])], -1)
