import numpy as np
import pytest

from embodia.envs.drawing.rotations import from_yaw
from embodia.envs.homes.engines.engine import camera_matrices as homes_matrices
from embodia.envs.homes.tasks.sensors import compass, gps
from embodia.perception.mapping.planar_poses import (
    PoseJump,
    camera_matrices,
    check_motion,
    compose,
    from_gps,
    motion_between,
    planar_pose,
)

RNG = np.random.default_rng(1)
POSES = RNG.uniform(-3, 3, (20, 3))


def test_matrices_are_those_of_homes():
    eyes = np.stack([POSES[:, 0], np.full(20, 1.25), POSES[:, 1]], -1)
    np.testing.assert_allclose(camera_matrices(POSES, 1.25), homes_matrices(eyes, from_yaw(POSES[:, 2])), atol=1e-12)


def test_planar_pose_inverts_matrices_also_of_tilted_cameras():
    tilt = RNG.uniform(-0.6, 0.6, 20)
    np.testing.assert_allclose(planar_pose(camera_matrices(POSES, 0.9, tilt)), POSES, atol=1e-12)


def test_motions_and_poses():
    after = RNG.uniform(-3, 3, (20, 3))
    np.testing.assert_allclose(compose(POSES, motion_between(POSES, after)), after, atol=1e-12)
    ahead = compose([1.0, 2.0, np.pi / 2], [0.0, -0.25, 0.0])  # facing -x after a left turn
    np.testing.assert_allclose(ahead, [0.75, 2.0, np.pi / 2], atol=1e-12)


def test_gps_and_compass_give_the_pose_in_the_frame_of_the_start():
    start, now = np.array([1.0, 0.0, 2.0]), np.array([3.0, 0.0, -1.0])
    turned, facing = from_yaw(0.8), from_yaw(2.0)
    found = from_gps(gps(now, start, turned), compass(facing, turned))
    expected = motion_between([1.0, 2.0, 0.8], [3.0, -1.0, 2.0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_jump_is_an_error_but_not_at_the_start_of_an_episode():
    before, after = np.zeros((2, 3)), np.array([[0.2, 0, 0], [3.0, 4.0, 0]])
    check_motion(before, after, 0.3, first=np.array([False, True]))
    with pytest.raises(PoseJump, match=r"world 1 jumped 5\.00 m .* at most 0\.3 m"):
        check_motion(before, after, 0.3)
    with pytest.raises(PoseJump, match="world 0 is not finite"):
        check_motion(before, np.full((2, 3), np.nan), 0.3)
