"""nuPlan's closed-loop metrics against the reference's golden scenes on the synthetic road."""

import numpy as np
import pytest

from embodia.envs.driving.metrics.closed_loop_scores import challenge_table, score_history
from embodia.envs.driving.metrics.comfort import comfort
from embodia.envs.driving.simulation.closed_loop import History
from embodia.envs.driving.types import STATE_SIZE, StateColumn, TrackedObjectType
from embodia.tests.envs.driving.road import LIMIT, STEP_US, car, ego_history, join, scenario_on

C = StateColumn
CONE = {"size": (0.4, 0.4), "kind": TrackedObjectType.TRAFFIC_CONE}


def scored(road_map, ego, frames=None, expert=None):
    """Score ego states (K, 11) among K frames of tracks; by default the expert drove the same way."""
    expert = ego if expert is None else expert
    scenario = scenario_on(road_map, np.concatenate([expert, expert[-1:]]), frames and [*frames, frames[-1]])
    tracks = [scenario.tracks_at(k) for k in range(len(ego))]
    return score_history(History(scenario, scenario.time_us[scenario.iterations][: len(ego)], ego, tracks))


def test_an_undisturbed_ride_scores_one(road_map):
    result = scored(road_map, ego_history(10))
    assert set(result.metrics.values()) == {1.0}


def test_running_into_a_slower_car(road_map):
    frames = [car("a", 30 + 0.3 * k, velocity=(3.0, 0.0)) for k in range(41)]
    result = scored(road_map, ego_history(10), frames)
    assert result.metrics["no_ego_at_fault_collisions"] == 0
    assert result.statistics["at_fault_collisions_with_vehicles"] == 1
    assert result.statistics["min_time_to_collision"] == 0
    assert result.score == 0


def test_one_cone_halves_and_two_end_the_score(road_map):
    one = scored(road_map, ego_history(10), [car("a", 30, **CONE)] * 41)
    assert one.metrics["no_ego_at_fault_collisions"] == 0.5
    assert one.metrics["time_to_collision_within_bound"] == 0
    assert one.score == pytest.approx(0.34375)
    two = scored(road_map, ego_history(10), [join(car("a", 30, **CONE), car("b", 36, **CONE))] * 41)
    assert two.score == 0


def test_being_hit_from_behind_while_stopped_is_no_fault(road_map):
    frames = [car("a", 20 + 1.2 * k, velocity=(12.0, 0.0)) for k in range(41)]
    result = scored(road_map, ego_history(40, speed=0.0), frames)
    assert result.statistics["collisions"] == 1
    assert result.score == 1


def test_a_side_swipe_while_straddling_two_lanes_is_at_fault(road_map):
    frames = [car("a", 41 + 0.6 * k, 3.2 - 0.06 * k, -0.1, (6.0, -0.6)) for k in range(41)]
    straddling = scored(road_map, ego_history(40, y=0.0, speed=6.0), frames)
    assert straddling.statistics["at_fault_collisions_with_vehicles"] == 1
    assert straddling.statistics["min_time_to_collision"] == 0
    assert straddling.score == 0


def test_a_side_swipe_within_the_lane_is_not(road_map):
    frames = [car("a", 41 + 0.6 * k, 1.45 - 0.06 * k, -0.1, (6.0, -0.6)) for k in range(41)]
    result = scored(road_map, ego_history(40, speed=6.0), frames)
    assert result.statistics["collisions"] == 1
    assert result.metrics["no_ego_at_fault_collisions"] == 1


@pytest.mark.parametrize(("gap", "ttc"), [(4.74, 1.0), (4.76, 1.0), (5.5, 1.1), (20.0, np.inf)])
def test_time_to_a_slower_leader(road_map, gap, ttc):
    """The leader reports 5 m/s but is moved 1.0 m per sample, so that the gap stays as it is."""
    front = 10 + 4.049 + gap + 2.4
    frames = [car("a", front + 1.0 * k, velocity=(5.0, 0.0)) for k in range(15)]
    result = scored(road_map, ego_history(10, num=15), frames)
    np.testing.assert_allclose(result.series["time_to_collision"], ttc, atol=1e-9)
    assert result.metrics["time_to_collision_within_bound"] == 1


@pytest.mark.parametrize(
    ("speed", "expected", "overall"),
    [(11.2, 0.988969, 0.997242), (12.176, 0.540359, 0.88509), (13.176, 0.080717, 0.770179), (14.0, 0.0, 0.75)],
)
def test_speeding(road_map, speed, expected, overall):
    result = scored(road_map, ego_history(10, speed=speed))
    assert result.metrics["speed_limit_compliance"] == pytest.approx(expected, abs=1e-6)
    assert result.score == pytest.approx(overall, abs=1e-6)


@pytest.mark.parametrize(
    ("speed", "metres", "score"),
    [(1.0, 1.1, 1.0), (1.8, 1.98, 1.0), (2.0, 2.2, 0.5), (3.0, 3.3, 0.5), (5.0, 5.5, 0.5), (6.0, 6.6, 0.0)],
)
def test_against_the_traffic(road_map, speed, metres, score):
    result = scored(road_map, ego_history(200, y=5.25, speed=speed))
    assert result.statistics["metres_against_traffic"] == pytest.approx(metres, abs=1e-9)
    assert result.metrics["driving_direction_compliance"] == score
    if speed == 6.0:
        assert result.metrics["ego_progress_along_expert_route"] == 0


def test_driving_backwards_is_no_progress(road_map):
    expert = ego_history(30, speed=8.0)
    result = scored(road_map, ego_history(30, speed=-0.75), expert=expert)
    assert result.statistics["expert_progress"] == pytest.approx(32.0)
    assert result.statistics["ego_progress"] == pytest.approx(-3.0)
    assert result.metrics["ego_progress_along_expert_route"] == 0
    assert result.metrics["ego_is_making_progress"] == 0


def test_progress_over_a_block_that_is_skipped(road_map):
    """From the first block over the connector into the next within one step: every metre counts once."""
    ego = ego_history(100, speed=10.0, num=21)
    jump = ego.copy()
    jump[10:, C.X] += 40
    result = scored(road_map, jump, expert=ego_history(100, speed=30.0, num=21))
    assert result.statistics["ego_progress"] == pytest.approx(jump[-1, C.X] - jump[0, C.X])


def test_leaving_the_road_beyond_the_tolerance(road_map):
    """The right edge is y = -3.5, the ego 2.297 m wide."""
    for y, compliance in ((-2.35, 1.0), (-2.64, 1.0), (-2.66, 0.0), (-5.0, 0.0)):
        assert scored(road_map, ego_history(10, y=y)).metrics["drivable_area_compliance"] == compliance


def test_missing_limit_and_no_lane_are_no_violation(road_map):
    assert scored(road_map, ego_history(10, y=-40.0, speed=30)).metrics["speed_limit_compliance"] == 1


def test_connectors_take_the_highest_limit_of_the_lanes_they_join(road_map):
    ego = ego_history(112, speed=14.0, num=8)
    over = scored(road_map, ego).series["overspeed"]
    centres = ego[:, C.X] + 1.461
    np.testing.assert_allclose(over, np.where(centres < 120, 14.0 - LIMIT, 0.0))


def states_with(num=41, **columns):
    states = np.zeros((num, STATE_SIZE))
    for name, values in columns.items():
        states[:, C[name]] = values
    return states


def test_comfort_golden_series():
    t = np.arange(41) * 0.1
    picks = [0, 1, 5, 10, 20, 39, 40]
    time_us = np.arange(41) * STEP_US
    ride = comfort(time_us, states_with(AX=1.5 * np.sin(2 * np.pi * 0.5 * t)))
    golden = {
        "lon_acceleration": [-0.04010521, 0.49870895, 1.47093859, -0.23297379, 0.23297379, -0.49870895, 0.04010521],
        "lon_jerk": [3.57679642, 2.82778856, -0.16824288, -2.50398402, 2.5305736, 3.55422451, 4.36920034],
        "jerk": [0.75436883, 0.68269954, 0.39602237, -0.00091227, -0.02750186, -1.38486842, -1.60217777],
    }
    for name, values in golden.items():
        np.testing.assert_allclose(ride.series[name][picks], values, atol=1e-8)
    assert [name for name, ok in ride.within_bounds().items() if not ok] == ["lon_jerk"]

    ride = comfort(time_us, states_with(HEADING=0.3 * np.sin(2 * np.pi * 0.25 * t)))
    yaw_rate = [0.48727092, 0.46460444, 0.32857914, 0, -0.46468107, 0.46460444, 0.48727092]
    yaw_acceleration = [-0.00686027, -0.11676252, -0.51866469, -0.73350264, 0, 0.11676252, 0.00686027]
    np.testing.assert_allclose(ride.series["yaw_rate"][picks], yaw_rate, atol=1e-8)
    np.testing.assert_allclose(ride.series["yaw_acceleration"][picks], yaw_acceleration, atol=1e-8)
    assert ride.score() == 1


def test_hard_acceleration_costs_comfort_alone(road_map):
    result = scored(road_map, ego_history(10, speed=0.0, acceleration=2.5))
    assert [name for name, value in result.metrics.items() if value != 1] == ["ego_is_comfortable", "score"]
    assert result.score == pytest.approx(0.875)


def test_challenge_table_is_the_mean_over_scenarios(road_map):
    good, bad = scored(road_map, ego_history(10)), scored(road_map, ego_history(10, speed=14.0))
    scenario = scenario_on(road_map, ego_history(10))
    table = challenge_table([(scenario, good), (scenario, good), (scenario, bad)], "some planner")
    assert table[-1]["scenario"] == "final_score"
    assert table[-1]["score"] == pytest.approx((1 + 1 + 0.75) / 3)
    assert table[-1]["num_scenarios"] == 3
    assert table[3]["scenario"] == "following_lane_with_lead"
    assert table[3]["speed_limit_compliance"] == pytest.approx(2.0)
