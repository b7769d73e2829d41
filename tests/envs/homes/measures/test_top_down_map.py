"""Golden values of habitat-lab's TopDownMap on bounds (-2, -.1, -1) to (4, 2.5, 3), resolution 64."""

import hashlib

import numpy as np
import pytest

from embodia.envs.drawing.rotations import from_yaw
from embodia.envs.homes.measures.fog_of_war import reveal, supercover_line
from embodia.envs.homes.measures.top_down_map import (
    COLOURS,
    MapGoal,
    MapGrid,
    TopDownMap,
    colourise,
    draw_border,
    map_angle,
)

BOUNDS = [(-2, -0.1, -1), (4, 2.5, 3)]
START, GOAL = np.array([0, 0, 0.0]), np.array([3, 0, 0.5])


@pytest.fixture
def free():
    free = np.zeros((64, 96), bool)
    free[3:-3, 3:-3] = True
    free[64 // 3 : 2 * 64 // 3, 48] = False
    return free


def counts(grid):
    return dict(zip(*(a.tolist() for a in np.unique(grid, return_counts=True))))


def test_cells_and_places():
    grid = MapGrid.of(BOUNDS, 64)
    assert grid.shape == (64, 96)
    points = [(-2, -1), (0, 0), (1.03, 0.99), (3.999, 2.999), (4, 3)]
    assert [grid.to_grid(x, z) for x, z in points] == [(0, 0), (16, 32), (31, 48), (63, 95), (64, 96)]
    assert grid.from_grid(10, 20) == pytest.approx((-0.375, -0.75))


def test_border(free):
    assert counts(draw_border(free.astype(np.uint8))) == {0: 945, 1: 4863, 2: 336}


def test_supercover_lines():
    assert supercover_line(0, 0, 3.0, 2.0).tolist() == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [3, 2]]
    there = [[5, 5], [5, 6], [4, 6], [4, 7], [3, 7], [3, 8], [3, 9], [2, 8], [2, 9]]
    assert supercover_line(5, 5, 2.0, 9.0).tolist() == there


def test_fog_of_war_cell_by_cell(free):
    mask = np.zeros(free.shape, np.uint8)
    reveal(free.astype(np.uint8), mask, (32, 20), np.pi, 90, 5 / 0.0625)
    assert mask.sum() == 852
    assert hashlib.sha256(mask.tobytes()).hexdigest().startswith("e2121b3ad1d827c6")
    mask[:] = 0
    reveal(free.astype(np.uint8), mask, (32, 20), np.pi / 2, 90, 2 / 0.0625)
    assert mask.sum() == 763


def test_an_episode_seen_from_above(free):
    measure = TopDownMap(resolution=64, max_episode_steps=500)
    assert (measure.line_thickness, measure.point_padding) == (1, 2)
    measure.reset(BOUNDS, lambda *_: free, START, from_yaw(0.0), [MapGoal(GOAL)], [START, GOAL])
    assert counts(measure.map) == {0: 945, 1: 4770, 2: 336, 4: 25, 6: 22, 7: 46}
    assert measure.fog is not None
    assert (measure.fog.sum(), measure.cell) == (210, (16, 32))
    for position in ([0.5, 0, 1], [1, 0, 2]):
        measure.update(np.array(position), from_yaw(-np.pi / 2))
    assert counts(measure.map) == {0: 945, 1: 4740, 2: 336, 4: 22, 6: 22, 7: 46, 10: 33}
    assert (measure.fog.sum(), measure.metric()["agent_map_coord"]) == (1791, [(48, 48)])


def test_a_snapshot_continues_the_same_map(free):
    one, other = TopDownMap(64, 500), TopDownMap(64, 500)
    one.reset(BOUNDS, lambda *_: free, START, from_yaw(0.0), [MapGoal(GOAL)], [START, GOAL])
    other.set_state(one.get_state())
    for measure in (one, other):
        measure.update(np.array([0.5, 0, 1]), from_yaw(1.0))
    assert np.array_equal(one.map, other.map)
    assert np.array_equal(one.draw(), other.draw())


def test_angles_in_the_map():
    angles = [map_angle(from_yaw(np.deg2rad(yaw))) for yaw in (0, 45, 90, 180, -90)]
    np.testing.assert_allclose(angles, [-np.pi, -2.35619449, -1.57079633, 0, 1.57079633], atol=1e-8)


def test_colours_and_fog(free):
    assert COLOURS[[1, 10, 128, 255]].tolist() == [[150, 150, 150], [0, 0, 128], [90, 255, 166], [168, 0, 0]]
    grid = free.astype(np.uint8)
    image = colourise(grid, np.zeros_like(grid))
    assert image[30, 30].tolist() == [75, 75, 75]  # in the fog
    assert image[0, 0].tolist() == [255, 255, 255]  # no floor, no fog


def test_view_points_and_goals_of_another_floor_are_not_drawn(free):
    measure = TopDownMap(64, 500, fog_of_war=False)
    upstairs = MapGoal(GOAL + np.array([0, 2.5, 0]), view_points=np.array([[1, 0.1, 1], [1, 2.6, 2]]))
    measure.reset(BOUNDS, lambda *_: free, START, from_yaw(0.0), [upstairs], [])
    assert counts(measure.map)[8] == 25
    assert 6 not in counts(measure.map)
