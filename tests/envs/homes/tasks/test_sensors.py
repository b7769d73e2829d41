"""Golden readings of habitat-lab's own sensor classes, and the identities that tie them together."""

import numpy as np
import pytest

from embodia.envs.drawing.rotations import from_yaw, inverse, multiply, rotate, yaw_of
from embodia.envs.homes.tasks.sensors import compass, depth_reading, gps, heading, image_goal_rotation, point_goal

# position, yaw [deg], goal -> [distance, bearing]
POLAR = [
    ((0, 0, 0), 0, (0, 0, -3), (3, -0.0)),
    ((0, 0, 0), 0, (1, 0, -1), (1.41421354, -0.78539819)),
    ((0, 0, 0), 0, (-1, 0, -1), (1.41421354, 0.78539819)),
    ((0, 0, 0), 0, (0, 0, 2), (2, -3.14159274)),
    ((0, 0, 0), 90, (0, 0, -3), (3, -1.57079637)),
    ((1, 0.5, 2), 30, (4, 0.5, -1), (4.2426405, -1.3089969)),
    ((1, 0.5, 2), -135, (4, 1.5, -1), (4.2426405, 1.5707964)),
]


def yaw(degrees):
    return from_yaw(np.deg2rad(degrees))


def test_point_goal_polar_over_all_worlds_at_once():
    position, degrees, goal, expected = (np.array(column, float) for column in zip(*POLAR))
    reading = point_goal(position, yaw(degrees), goal)
    assert reading.dtype == np.float32
    np.testing.assert_allclose(reading, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("goal_format", "dimensions", "expected"),
    [
        ("POLAR", 3, (4.3588991, -1.3089969, 1.3393190)),
        ("CARTESIAN", 2, (1.0980762, 4.0980763)),
        ("CARTESIAN", 3, (4.0980763, 1.0, -1.0980762)),
    ],
)
def test_point_goal_formats(goal_format, dimensions, expected):
    reading = point_goal((1, 0.5, 2), yaw(30), (4, 1.5, -1), goal_format, dimensions)
    np.testing.assert_allclose(reading, expected, atol=1e-6)


def test_static_point_goal_is_the_reading_at_the_start_pose():
    np.testing.assert_allclose(point_goal((1, 0.5, 2), yaw(30), (4, 0.5, -1)), (4.2426405, -1.3089969), atol=1e-6)


@pytest.mark.parametrize(
    ("position", "start", "degrees", "dimensions", "expected"),
    [
        ((0, 0, -2), (0, 0, 0), 0, 2, (2, 0)),
        ((1, 0, 0), (0, 0, 0), 0, 2, (0, 1)),
        ((1, 0, 0), (0, 0, 0), 90, 2, (-1, 0)),
        ((3, 1, -2), (1, 1, 1), 30, 2, (1.5980762, 3.2320509)),
        ((3, 1.2, -2), (1, 1, 1), 30, 3, (3.2320509, 0.2, -1.5980762)),
    ],
)
def test_gps(position, start, degrees, dimensions, expected):
    np.testing.assert_allclose(gps(position, start, yaw(degrees), dimensions), expected, atol=1e-6)


def test_compass_and_heading():
    now, start = np.array([[10, 0], [-10, 0], [90, 0], [100, 30], [-170, 170]]).T
    reading = compass(yaw(now), yaw(start))
    expected = [0.17453292, -0.17453292, 1.5707964, 1.2217305, 0.34906584]
    assert reading.shape == (5, 1)
    np.testing.assert_allclose(reading[:, 0], expected, atol=1e-6)
    reading = heading(yaw(np.array([10, 90, -90, 180])))
    np.testing.assert_allclose(reading[:, 0], [0.17453292, 1.5707964, -1.5707964, 3.1415927], atol=1e-6)


def test_rotations_are_a_group_acting_on_vectors():
    rng = np.random.default_rng(0)
    a, b = (q / np.linalg.norm(q, axis=-1, keepdims=True) for q in rng.normal(size=(2, 50, 4)))
    v = rng.normal(size=(50, 3))
    np.testing.assert_allclose(rotate(multiply(a, b), v), rotate(a, rotate(b, v)), atol=1e-12)
    np.testing.assert_allclose(rotate(inverse(a), rotate(a, v)), v, atol=1e-12)
    angles = rng.uniform(-np.pi, np.pi, 50)
    np.testing.assert_allclose(yaw_of(from_yaw(angles)), angles, atol=1e-12)
    np.testing.assert_allclose(rotate(from_yaw(0.3), (0, 0, -1)), (-np.sin(0.3), 0, -np.cos(0.3)), atol=1e-12)


def test_depth_reads_the_minimum_where_nothing_was_hit():
    depth = np.array([0.0, 0.3, 2.75, 9.0], np.float32)
    np.testing.assert_allclose(depth_reading(depth, 0.5, 5.0), [0, 0, 0.5, 1])
    np.testing.assert_allclose(depth_reading(depth, 0.5, 5.0, normalize=False), [0.5, 0.5, 2.75, 5.0])


def test_goal_pictures_look_the_same_way_in_every_process():
    np.testing.assert_allclose(image_goal_rotation("12"), image_goal_rotation("12"))
    assert yaw_of(image_goal_rotation("12")) == pytest.approx(yaw_of(image_goal_rotation("12")))
    assert abs(yaw_of(image_goal_rotation("12")) - yaw_of(image_goal_rotation("13"))) > 1e-3
