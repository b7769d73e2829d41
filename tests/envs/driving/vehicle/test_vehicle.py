"""The kinematic bicycle against the reference's golden values, and the devkit's rigid-body quirks."""

import numpy as np
import pytest

from embodia.envs.driving.types import STATE_SIZE, StateColumn
from embodia.envs.driving.vehicle.bicycle import (
    MAX_STEERING,
    PACIFICA,
    IdmParameters,
    bicycle_step,
    center_accelerations,
    center_velocities,
)

C = StateColumn


def test_pacifica_measures():
    assert PACIFICA.length == pytest.approx(5.176)
    assert PACIFICA.rear_axle_to_center == pytest.approx(1.461)


def test_bicycle_golden_steps():
    state = np.zeros(STATE_SIZE)
    state[C.VX] = 5.0
    golden = [
        (0.5, 0.0, 0.0, 5.033333333333333, 0.3333333333333333, 0.013333333333333332, 0.13333333333333333,
         0.021727124748679067, 0.2172712474867907, 0.6514563171862576),
        (1.0033333333333336, 0.0, 0.002172712474867833, 5.088888888888889, 0.5555555555555556, 0.026666666666666665,
         0.13333333333333333, 0.043941689757153624, 0.22214565008474557, 0.8829313544655899),
        (1.5122210210720224, 0.0011056683672923742, 0.00656688145058304, 5.059259259259259, -0.29629629629629617, 0.0,
         -0.26666666666666666, 0.0, -0.4394168975715363, -0.9382843836483107),
    ]  # fmt: skip
    columns = [C.X, C.Y, C.HEADING, C.VX, C.AX, C.STEERING, C.STEERING_RATE, C.YAW_RATE, C.YAW_ACCELERATION]
    for (acceleration, rate), expected in zip([(1.0, 0.2), (1.0, 0.2), (-2.0, -0.4)], golden, strict=True):
        state = bicycle_step(state, acceleration, rate, 0.1)
        np.testing.assert_allclose(state[columns], expected[:-1], atol=1e-12)
        assert center_accelerations(state)[0] == pytest.approx(expected[-1], abs=1e-12)


def test_bicycle_batch_equals_single_steps():
    rng = np.random.default_rng(0)
    states, commands = rng.normal(size=(7, 5, STATE_SIZE)), rng.normal(size=(7, 5, 2))
    batch = bicycle_step(states, commands[..., 0], commands[..., 1], 0.1)
    for index in np.ndindex(7, 5):
        np.testing.assert_array_equal(batch[index], bicycle_step(states[index], *commands[index], 0.1))


def test_steering_saturates_and_speed_may_reverse():
    state = np.zeros(STATE_SIZE)
    for _ in range(20):
        state = bicycle_step(state, -3.0, 2.0, 0.1)
    assert state[C.STEERING] == pytest.approx(MAX_STEERING)
    assert state[C.VX] < 0


def test_center_velocity_adds_the_yaw_and_acceleration_stays_along_x():
    state = np.zeros(STATE_SIZE)
    state[[C.VX, C.AY, C.YAW_RATE, C.YAW_ACCELERATION]] = 4.0, 0.7, 0.5, 0.2
    np.testing.assert_allclose(center_velocities(state), [4.0, 1.461 * 0.5])
    np.testing.assert_allclose(center_accelerations(state), [1.461 * (0.25 + 0.2), 0.7])


def test_idm_golden_values():
    idm = IdmParameters()
    assert idm.acceleration(5, 10, 200, 5) == pytest.approx(0.93569375, abs=1e-12)
    assert idm.next_speed(5, 10, 200, 5, 0.1) == pytest.approx(5.093569375, abs=1e-12)
    assert idm.acceleration(8, 10, 15, 6) == pytest.approx(-0.9566142688302307, abs=1e-12)
    assert idm.next_speed(8, 10, 15, 6, 0.1) == pytest.approx(7.904338573116977, abs=1e-12)
    assert idm.acceleration(10, 10, 5, 0) == pytest.approx(-105.494834, abs=1e-6)
    assert idm.next_speed(10, 10, 5, 0, 0.1) == pytest.approx(9.8, abs=1e-12)
