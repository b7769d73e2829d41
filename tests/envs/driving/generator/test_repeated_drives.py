"""Several drives of one route share the way and what stands still, and differ in traffic."""

import numpy as np
import pytest

from embodia.envs.driving.generator.repeated_drives import repeated_drives
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.map.geometry import boxes_intersect
from embodia.envs.driving.sensors.solids import FIRST_BUILDING, FIRST_TRACK
from embodia.envs.driving.vehicle.bicycle import ego_boxes


def test_the_laser_sees_the_same_town_in_other_traffic():
    drives = repeated_drives(0, 3)
    for drive in drives:
        np.testing.assert_array_equal(drive.ego, drives[0].ego)
        boxes = ego_boxes(drive.ego[: len(drive.tracks.boxes)])
        assert not (boxes_intersect(boxes[:, None], drive.tracks.boxes) & drive.tracks.valid).any()
    assert len({drive.tracks.boxes.tobytes() for drive in drives}) == 3
    env = DrivingVectorEnv(3, drives, observation=("ego", "laser", "laser_id"), laser_elevations=(-2.0, 4.0))
    seen, _ = env.reset(seed=0)
    buildings = seen["laser_id"] >= FIRST_BUILDING
    everywhere = buildings.all(axis=0)
    assert everywhere.sum() > 20
    assert (np.ptp(seen["laser"][:, everywhere], axis=0) < 0.01).all()
    traffic = (seen["laser_id"] >= FIRST_TRACK) & ~buildings
    assert (traffic.any(axis=0) & ~traffic.all(axis=0)).any(), "objects come and go"


def test_no_drive_at_all():
    with pytest.raises(ValueError, match="at least 1"):
        repeated_drives(0, 0)
