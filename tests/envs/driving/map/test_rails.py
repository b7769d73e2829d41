"""The compiled geometry along rails against GEOS, whose answers the devkit rests on."""

import numpy as np
import pytest
import shapely

from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.map.rails import (
    DOUBTFUL,
    INSIDE,
    OUTSIDE,
    RailPath,
    place_vehicle,
    rectangle_around,
    strip_outline,
    touches_corridor,
)
from embodia.envs.driving.map.segments import ring_distance
from embodia.envs.driving.simulation.taken_ground import flat_buffer


def random_line(rng, num, start=(0.0, 0.0), heading=None):
    """A gentle curve with steps up to 1.5 m, the first one possibly tiny, as paths cut at a progress have."""
    steps = np.full(num, rng.uniform(0.3, 1.5))
    steps[0] = rng.uniform(0.001, 0.5)
    first = rng.uniform(-3, 3) if heading is None else heading
    headings = first + rng.uniform(-0.12, 0.12) * np.cumsum(steps)
    points = np.stack([np.cos(headings), np.sin(headings)], axis=1) * steps[:, None]
    return np.asarray(start) + np.cumsum(points, axis=0), headings


@pytest.mark.parametrize("kind", ["box", "strip", "strip alongside"])
def test_a_corridor_is_never_judged_against_geos(kind):
    rng = np.random.default_rng(["box", "strip", "strip alongside"].index(kind))
    answers = []
    for _ in range(700):
        line, headings = random_line(rng, int(rng.integers(3, 40)))
        radius, at = rng.uniform(0.4, 1.3), line[rng.integers(len(line))] + rng.normal(size=2) * 4
        if kind == "box":
            shape = box_corners(np.array([*at, rng.uniform(-3, 3), rng.uniform(0.3, 8), rng.uniform(0.3, 2.5)]))
            polygon, width = shapely.polygons(shape), 0.0
        else:
            shape, _ = random_line(rng, int(rng.integers(3, 20)), at, headings[0] if "along" in kind else None)
            width = rng.uniform(0.4, 1.3)
            polygon = flat_buffer(shape, width)
        answer = touches_corridor(line, radius, shape, kind == "box", width)
        touches = flat_buffer(line, radius).intersects(polygon)
        assert answer == DOUBTFUL or (answer == INSIDE) == touches
        answers.append(answer)
    counts = np.bincount(answers, minlength=3)
    assert counts[INSIDE] > 50
    assert counts[OUTSIDE] > 50
    assert counts[DOUBTFUL] < 200, "plain arithmetic should decide most cases"


def test_distances_between_polygons():
    rng = np.random.default_rng(0)
    for _ in range(500):
        boxes = rng.normal(size=(2, 5)) * [4, 4, 2, 0, 0] + [0, 0, 0, 4, 2]
        a, b = box_corners(boxes)
        expected = shapely.polygons(a).distance(shapely.polygons(b))
        assert ring_distance(a, b, np.inf) == pytest.approx(expected, abs=1e-12)
        limited = ring_distance(a, b, 1.0)
        assert limited == pytest.approx(expected, abs=1e-12) if expected <= 1 else limited == np.inf


def test_one_polygon_within_another_is_at_distance_zero():
    inner, outer = (box_corners(np.array([0.0, 0.0, 0.3, size, size])) for size in (1.0, 5.0))
    assert ring_distance(inner, outer, np.inf) == ring_distance(outer, inner, np.inf) == 0


def test_straight_strips_are_rectangles():
    line = np.array([1.0, 2.0]) + np.linspace(0, 7, 9)[:, None] * np.array([0.6, 0.8])
    ring = rectangle_around(line, 1.1)
    assert shapely.polygons(ring).symmetric_difference(flat_buffer(line, 1.1)).area < 1e-9
    bent = line.copy()
    bent[4] += [0.01, 0.0]
    assert len(rectangle_around(bent, 1.1)) == 0


def test_the_outline_of_a_bent_strip_is_geos_buffer():
    rng = np.random.default_rng(0)
    ring, left_to_geos = np.zeros((600, 2)), 0
    for sample in range(300):
        line, _ = random_line(rng, int(rng.integers(2, 30)))
        line += rng.normal(0, 0.02, line.shape) * (sample % 2)  # kinks both ways
        radius = rng.uniform(0.4, 1.3)
        count = strip_outline(line, radius, ring)
        left_to_geos += count == 0
        if count:
            theirs = flat_buffer(line, radius).exterior
            assert shapely.hausdorff_distance(shapely.LinearRing(ring[:count]), theirs) < 1e-12
    assert left_to_geos < 30
    assert strip_outline(np.array([[0.0, 0.0], [1.0, 0.0], [1.001, 0.0]]), 1.0, ring) == 0


def test_paths_lose_their_last_and_repeated_nodes():
    poses = np.array([[0, 0, 3.1], [1, 0, 0.0], [1, 0, -3.1], [3, 0, -3.0], [4, 0, 0.0]], float)
    path = RailPath(poses)
    np.testing.assert_allclose(path.s, [0, 1, 3])
    np.testing.assert_allclose(path.pose_at(0.5), [0.5, 0, np.pi])
    np.testing.assert_allclose(path.after(2.0)[:, 0], [2, 3])
    np.testing.assert_allclose(path.after(3.0)[:, 0], [1, 3], err_msg="at its end a path keeps its last piece")
    np.testing.assert_allclose(path.between(0.5, 2.0)[:, 0], [0.5, 1, 2])


def test_placing_a_vehicle():
    corners, bounds = np.zeros((4, 2)), np.zeros(4)
    pose, strip = np.array([3.0, -1.0, 0.7]), np.array([[3.0, -1.0], [6.0, 2.0]])
    place_vehicle(pose, 4.0, 2.0, strip, corners, bounds)
    np.testing.assert_allclose(corners, box_corners(np.array([*pose, 4.0, 2.0])))
    np.testing.assert_allclose(bounds[2:], np.maximum(corners.max(axis=0), [7.0, 3.0]))
