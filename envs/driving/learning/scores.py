"""Scores of a drive under nuPlan's names: exact ones from the record, approximate ones from arrays."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embodia.envs import Info, Scores
from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.reward import Sums
from embodia.envs.driving.metrics.closed_loop_scores import MULTIPLIERS, WEIGHTS, score_history, weighted_score

Rules = Literal["learning", "nuplan"]


LABELS = {
    "score": "nuPlan score",
    "no_ego_at_fault_collisions": "no collision at fault",
    "drivable_area_compliance": "on the drivable area",
    "ego_is_making_progress": "makes progress",
    "driving_direction_compliance": "driving direction",
    "ego_progress_along_expert_route": "progress along the expert's route",
    "time_to_collision_within_bound": "time to collision in bounds",
    "speed_limit_compliance": "speed limit",
    "ego_is_comfortable": "comfort",
}
"""Names of nuPlan's scores in prose."""


def declared(rules: Rules | None) -> Scores:
    """Return the declared scores; higher is better in all, and the first decides: `score`.

    If `rules` are "learning" on both splits, the progress before a failure decides. nuPlan's score is 0 after any
    failure, which tells early policies apart too little.
    """
    decides = "ego_progress_along_expert_route" if rules == "learning" else "score"
    names = dict.fromkeys((decides, "score", "success", *MULTIPLIERS, *WEIGHTS))
    return {name: {"better": "higher", "label": LABELS.get(name, name)} for name in names}


def infos_at_the_end(drives: Drives, sums: Sums, over: NDArray[np.bool_]) -> Info:
    """The scores of the worlds that are `over` (N,), in Gymnasium's layout."""
    rows = {i: episode_scores(drives, sums, i) for i in np.flatnonzero(over).tolist()}
    if not rows:
        return {}
    metrics: Info = {}
    for name in next(iter(rows.values())):
        metrics[name] = np.array([rows[i][name] if i in rows else 0.0 for i in range(len(over))])
        metrics[f"_{name}"] = over.copy()
    return {"metrics": metrics, "_metrics": over.copy()}


def episode_scores(drives: Drives, sums: Sums, i: int) -> dict[str, float]:
    """Return world i's scores; those shown in captions come first."""
    metrics = dict(score_history(drives.history(i)).metrics) if drives.exact else quick_scores(drives, sums, i)
    success = float(all(metrics[name] > 0 for name in MULTIPLIERS))
    return {"score": metrics["score"], "success": success, **metrics}


def quick_scores(drives: Drives, sums: Sums, i: int) -> dict[str, float]:
    """Return nuPlan's scores from arrays, with comfort from instantaneous bounds and fault from the path."""
    worlds, steps = drives.worlds, max(1, drives.iteration(i))
    expert = float(drives.arrays.expert_progress[worlds.scenario[i]])
    driven = float(worlds.path_s[i] - worlds.start_s[i])
    ratio = min(1.0, max(driven, 0.1) / max(expert, 0.1)) if driven > -0.1 else 0.0
    back = float(sums["backwards"][i])
    metrics = {
        "no_ego_at_fault_collisions": 1.0 - float(worlds.collided[i]),
        "drivable_area_compliance": 1.0 - float(worlds.off_road[i]),
        "ego_is_making_progress": float(ratio >= 0.2),
        "driving_direction_compliance": 1.0 if back < 2 else 0.5 if back < 6 else 0.0,
        "ego_progress_along_expert_route": ratio,
        "time_to_collision_within_bound": float(sums["ttc"][i] == 0),
        "speed_limit_compliance": max(0.0, 1 - float(sums["overspeed"][i]) / (2.23 * steps * 0.1)),
        "ego_is_comfortable": float(sums["comfort"][i] == 0),
    }
    return {**metrics, "score": weighted_score(metrics, MULTIPLIERS, WEIGHTS)}
