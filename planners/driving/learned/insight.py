"""What a learned planner saw, as an `Insight` to draw: its field, sampled trajectories by cost, others' futures."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.driving.types import Floats, Insight, Scene
from embodia.planners.driving.learned.judged import Judged, in_map
from embodia.planners.driving.learned.plan_features import JUDGED, LANE_BEHIND

SLICE = 3  # index of the time of a field that is drawn: 2 s
SAMPLES, FUTURES, NOTES = 40, 6, 5  # most trajectories, futures of an actor and cost terms that are drawn
CHEAP, DEAR = (40, 150, 70), (200, 60, 50)
FIELD_LOW, FIELD_HIGH = (60, 90, 200), (220, 70, 60)
LEAST = 0.02  # probability of a future that is drawn


def insight_of(judged: Judged, row: int, scene: Scene) -> Insight:
    """The insight of one ego of a batch."""
    field = () if judged.field is None else (slice_dots(judged.field[row], scene),)
    futures = [] if judged.futures is None else future_strokes(judged, row, scene)
    return Insight(field, (*sample_strokes(judged, row, scene), *futures), notes_of(shares(judged, row)))


def slice_dots(field: Tensor, scene: Scene) -> tuple[Floats, NDArray[np.uint8], float]:
    """A field (T, rows, columns) at 2 s; its rows cover 80 m from 8 m behind the ego on, its columns 48 m."""
    values = field[SLICE].detach().double().numpy()
    rows, columns = values.shape
    step = 80.0 / rows
    x = np.arange(rows) * step - LANE_BEHIND
    y = (np.arange(columns) - (columns - 1) / 2) * step
    points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    low, high = np.quantile(values, [0.02, 0.98])
    share = np.clip((values.ravel() - low) / max(high - low, 1e-9), 0, 1)
    shown = share > 0.05
    return placed(points[shown], scene), mixed(FIELD_LOW, FIELD_HIGH, share[shown]), 0.9 * step


def sample_strokes(judged: Judged, row: int, scene: Scene) -> list[tuple[Floats, tuple[int, int, int], float]]:
    """Trajectories evenly chosen by cost, the dearest first, so that the cheap ones lie on top."""
    order = judged.cost[row].argsort(descending=True)
    picked = order[torch.linspace(0, len(order) - 1, min(SAMPLES, len(order))).round().long()]
    share = np.linspace(1, 0, len(picked))
    poses = judged.samples.poses[row, picked, : JUDGED + 1].detach().double().numpy()
    colors = mixed(CHEAP, DEAR, share).tolist()
    return [(placed(points, scene), tuple(color), 0.12) for points, color in zip(poses, colors)]


def future_strokes(judged: Judged, row: int, scene: Scene) -> list[tuple[Floats, tuple[int, int, int], float]]:
    """The most probable futures of every actor, wider where they are more probable."""
    assert judged.futures is not None
    boxes, probability = (each[row].detach().double().numpy() for each in judged.futures)
    found = []
    for places, likely in zip(boxes, probability):
        for k in np.argsort(likely)[-FUTURES:]:
            if likely[k] >= LEAST:
                found.append((placed(places[k], scene), (90, 60, 160), 0.15 + 0.6 * float(likely[k])))
    return found


def shares(judged: Judged, row: int) -> dict[str, float]:
    """Each term's share of the absolute cost of the chosen trajectory, the largest first."""
    best = int(judged.best()[row])
    parts = {name: abs(float(term[row, best])) for name, term in judged.terms.items()}
    total = max(sum(parts.values()), 1e-9)
    return dict(sorted(((name, part / total) for name, part in parts.items()), key=lambda each: -each[1]))


def notes_of(parts: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{name} {100 * part:.0f} %" for name, part in list(parts.items())[:NOTES] if part > 0.005)


def placed(points: Floats, scene: Scene) -> Floats:
    """Points (K, >= 2) of the ego's frame in map coordinates (K, 2)."""
    return in_map(np.concatenate([points[:, :2], np.zeros((len(points), 1))], -1), scene)[:, :2]


def mixed(low: tuple[int, int, int], high: tuple[int, int, int], share: Floats) -> NDArray[np.uint8]:
    """Colours (K, 3) between two, at shares (K,) of the second."""
    first, last = np.array(low, float), np.array(high, float)
    return (first + share[:, None] * (last - first)).astype(np.uint8)
