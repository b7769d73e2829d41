import numpy as np
import pytest

from embodia.perception.mapping.planar_poses import camera_matrices
from embodia.perception.mapping.point_cloud import project, unproject
from embodia.tests.perception.mapping.rooms import room_depth


def test_unproject_then_project_is_the_identity():
    rng = np.random.default_rng(0)
    pose = camera_matrices([0.3, -1.2, 0.7], 1.25, 0.2)
    depth = rng.uniform(0.5, 9, (24, 32))
    points, known = unproject(depth, 70.0, pose)
    pixels, again = project(points, (24, 32), 70.0, pose)
    rows, columns = np.indices((24, 32))
    assert known.all()
    np.testing.assert_allclose(again, depth)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1) + 0.5)


def test_a_room_is_a_box_of_points():
    pose = camera_matrices([0.5, 1.0, 2.1], 1.25)
    points, _ = unproject(room_depth(pose), 90.0, pose)
    assert points[..., 1].min() == pytest.approx(0, abs=1e-9)
    assert (points.min((0, 1)) >= np.array([-3, 0, -2]) - 1e-9).all()
    assert (points.max((0, 1)) <= np.array([3, 2.5, 4]) + 1e-9).all()


def test_pixels_without_a_reading_are_marked():
    depth = np.array([[0.0, np.nan], [np.inf, 2.0]])
    points, known = unproject(depth, 90.0, np.eye(4))
    assert known.tolist() == [[False, False], [False, True]]
    assert np.isfinite(points).all()


def test_wrong_depth_and_poses_are_errors():
    with pytest.raises(ValueError, match=r"depth at \(0, 1\) is -1 m"):
        unproject(np.array([[1.0, -1.0]]), 90.0, np.eye(4))
    with pytest.raises(ValueError, match="not a rigid motion"):
        unproject(np.ones((2, 2)), 90.0, 2 * np.eye(4))
    with pytest.raises(ValueError, match="not a rigid motion"):
        unproject(np.ones((2, 2)), 90.0, np.full((4, 4), np.nan))
