"""Camera and laser scanner as observations of driving environments."""

import numpy as np
import pytest

from embodia.envs.driving.learning.env import DrivingEnv
from embodia.envs.driving.learning.sensors import SENSOR_KEYS
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.options import RoadOptions
from embodia.envs.driving.sensors.solids import EDGE, FIRST_TRACK, NOTHING, Category
from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road


@pytest.fixture(scope="module")
def scenarios():
    """A car 30 m ahead of the ego's rear axle, and one in the next lane."""
    cars = [join(car("far", 60.0, 1.75), car("ahead", 40.0, -1.75)) for _ in range(20)]
    return [scenario_on(synthetic_road(), ego_history(10.0, speed=2.0, num=20), cars)]


def test_readings_are_in_their_spaces(scenarios):
    env = DrivingEnv(scenarios=scenarios, observation=("ego", *SENSOR_KEYS), camera_height=24, camera_width=32)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert set(observation) == {"ego", *SENSOR_KEYS}
    assert (observation["semantic"] == Category.VEHICLE).any()
    assert (observation["instance"] == FIRST_TRACK + 1).any()


def test_the_laser_measures_the_distance_to_the_car_ahead(scenarios):
    env = DrivingVectorEnv(1, scenarios, observation=("laser", "laser_id"), rules="learning")
    seen, _ = env.reset(seed=0)
    assert seen["laser"].shape == (1, 1, 360)
    gap = 30.0 - 4.8 / 2 - PACIFICA.rear_axle_to_center
    assert seen["laser"][0, 0, 0] == pytest.approx(gap, abs=0.01)
    assert seen["laser_id"][0, 0, 0] == FIRST_TRACK + 1
    assert seen["laser_id"][0, 0, 180] == NOTHING, "never the ego itself"
    ahead = env.step(np.zeros((1, 2), np.float32))[0]["laser"][0, 0, 0]
    assert ahead == pytest.approx(gap - 0.2, abs=0.01)


def test_edges_of_the_road_return_beams_on_request(scenarios):
    """The ego is in the right lane: 1.75 m to the edge on its right, 5.25 m to the one on its left."""
    env = DrivingVectorEnv(1, scenarios, observation=("laser", "laser_id"), laser_azimuths=4, laser_edges=True)
    seen, _ = env.reset(seed=0)
    np.testing.assert_allclose(seen["laser"][0, 0, [1, 3]], [5.25, 1.75], atol=0.06)  # areas are joined with 5 cm
    assert (seen["laser_id"][0, 0, [1, 3]] == EDGE).all()


def test_sensors_are_off_by_default_and_options_are_those_of_the_command_line(scenarios):
    options = {name: value for name, value in vars(RoadOptions()).items() if name.startswith(("camera_", "laser_"))}
    env = DrivingVectorEnv(1, scenarios, **options)
    assert not set(env.single_observation_space) & set(SENSOR_KEYS)
    assert env.sensors.camera == DrivingVectorEnv(1, scenarios).sensors.camera
    assert env.sensors.laser == DrivingVectorEnv(1, scenarios).sensors.laser


@pytest.mark.parametrize(
    "options", [{"camera_hfov": 0.0}, {"camera_width": 0}, {"laser_azimuths": 0}, {"laser_elevations": (90.0,)}]
)
def test_impossible_options(options, scenarios):
    with pytest.raises(ValueError, match=r"camera|laser"):
        DrivingVectorEnv(1, scenarios, **options)
