"""Planners on roads: nuPlan's IDM baseline by its golden values and rules, constant velocity, the log's own future."""

import numpy as np
import pytest
import shapely

from embodia.envs.driving.types import InvalidTrajectory, TrafficLightStatus, Trajectory
from embodia.envs.driving.vehicle.bicycle import PACIFICA, IdmParameters
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.corridor import Corridor, in_corridor
from embodia.planners.driving.idm import CenterPath, IdmPlanner, breadth_first_path, starting_edge
from embodia.planners.driving.log_future import LogFuture
from embodia.tests.planners.driving.lane_road import LIMIT, ROUTE, one, scene


@pytest.mark.parametrize(
    ("v", "gap", "lead_v", "expected"),
    [(5.0, 200.0, 5.0, 5.093569375), (8.0, 15.0, 6.0, 7.904338573116977), (10.0, 5.0, 0.0, 9.8)],
)
def test_idm_steps_as_the_reference_does(v, gap, lead_v, expected):
    assert IdmParameters().next_speed(v, 10.0, gap, lead_v, 0.1) == pytest.approx(expected, abs=1e-12)


def test_idm_plans_with_the_centre_on_the_baseline_every_half_second(road):
    planner = IdmPlanner()
    trajectory, carry = planner.plan(scene(20.0, 5.0), planner.initial(ROUTE, None, road))
    assert len(trajectory.time_us) == 17
    assert trajectory.end_us == 8_000_000
    np.testing.assert_allclose(trajectory.poses[:, 1], 0.0, atol=1e-9)
    assert carry["target"] == LIMIT
    # the free road's leader stands at the path's end (its last node dropped), half a length nearer
    v, s, idm = 5.0, 20.0, IdmParameters(max_deceleration=3.0)
    for row in range(1, 17):
        s, v = s + 0.5 * v, float(idm.next_speed(v, LIMIT, 299 - s - PACIFICA.length / 2, 0.0, 0.5))
        assert trajectory.poses[row, 0] + PACIFICA.rear_axle_to_center == pytest.approx(s)


def test_idm_follows_a_leader_and_ignores_the_next_lane(road):
    planner = IdmPlanner()
    carry = planner.initial(ROUTE, None, road)
    free, _ = planner.plan(scene(20.0, 8.0), carry)
    beside, _ = planner.plan(scene(20.0, 8.0, one(40.0, y=3.5)), carry)
    behind_it, _ = planner.plan(scene(20.0, 8.0, one(40.0, v=2.0)), carry)
    np.testing.assert_allclose(beside.poses, free.poses)
    gap = 20 - 2 - PACIFICA.length / 2
    first = float(IdmParameters(max_deceleration=3.0).next_speed(8.0, LIMIT, gap, 2.0, 0.5))
    assert behind_it.states[1, 3] == pytest.approx(first)
    assert behind_it.poses[-1, 0] < free.poses[-1, 0] - 20


@pytest.mark.parametrize(("status", "stops"), [(TrafficLightStatus.RED, True), (TrafficLightStatus.GREEN, False)])
def test_idm_stops_at_the_connector_of_a_red_light(road, status, stops):
    planner = IdmPlanner()
    trajectory, _ = planner.plan(scene(70.0, 8.0, lights={"3": status}), planner.initial(ROUTE, None, road))
    front = trajectory.poses[-1, 0] + PACIFICA.front_length
    assert (front < 101.0) == stops


def test_idm_keeps_the_lane_it_started_in_and_its_target_is_never_below_its_speed(road):
    planner = IdmPlanner()
    trajectory, carry = planner.plan(scene(20.0, 12.0, y=3.4), planner.initial(ROUTE, None, road))
    np.testing.assert_allclose(trajectory.poses[:, 1], 3.5, atol=1e-9)
    assert carry["target"] == 12.0


def test_breadth_first_search_wants_the_target_at_its_depth(road):
    blocks = [road.block(b) for b in ROUTE]
    start = starting_edge(road, blocks, scene(20.0, 5.0).ego)
    ids = [road.edges[e].id for e in breadth_first_path(road, start, blocks, 3)]
    assert ids == ["1", "3", "2"]
    cut = [road.edges[e].id for e in breadth_first_path(road, start, blocks[:2], 3)]
    assert cut == ["1", "3"], "without a path to the target the longest one found"


def test_the_corridor_has_square_caps_and_exact_sides():
    line, half = np.array([[0.0, 0.0], [10.0, 0.0]]), PACIFICA.width / 2
    for low_x, low_y, size, expected in [
        (10 + half - 0.1, half - 0.1, 1.0, True),  # at the cap's corner, farther than the radius from the line
        (10 + half + 0.1, -1.0, 1.0, False),
        (5.0, half - 0.03, 2.0, True),
        (5.0, half + 0.03, 2.0, False),
    ]:
        box = shapely.box(low_x, low_y, low_x + size, low_y + size)
        ring = shapely.get_coordinates(box)[:-1]
        assert in_corridor(line, np.array([0.0, 10.0]), ring, *ring.mean(axis=0), size) == expected
        assert Corridor(line, np.zeros(2)).polygon.intersects(box) == expected


def test_a_path_is_linear_between_its_nodes():
    path = CenterPath(np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 1.0], [1, 2, 1.0], [1, 3, 1.0]]))
    assert path.end == 3.0
    np.testing.assert_allclose(path.pose_at(2.0), [1, 1, 1.0])
    np.testing.assert_allclose(path.between(0.5, 2.0)[:, :2], [[0.5, 0], [1, 0], [1, 1]])


def test_a_route_off_the_map_is_named(road):
    with pytest.raises(ValueError, match=r"road.*'77'"):
        IdmPlanner().initial(["77"], None, road)


def test_constant_velocity_goes_straight_on():
    planner = ConstantVelocity()
    trajectory, _ = planner.plan(scene(0.0, 6.0), planner.initial([], None, None))
    assert trajectory.poses[-1, 0] - trajectory.poses[0, 0] == pytest.approx(48.0)
    backwards, _ = planner.plan(scene(0.0, -0.1), {})
    assert np.ptp(backwards.poses[:, 0]) == 0.0


def test_log_future_returns_every_fifth_row_at_its_own_time_and_holds_the_last_state():
    rng = np.random.default_rng(0)
    times = 100_000 * np.arange(60) + rng.integers(0, 4_000, 60)  # a real log's rows come a little early or late
    times[0] = 0
    log = Trajectory.from_poses(times, np.column_stack([times * 1e-6, np.zeros(60), np.zeros(60)]))
    trajectory, _ = LogFuture(log).plan(scene(0.0, 1.0), {})
    np.testing.assert_array_equal(trajectory.time_us[:12], times[::5])
    np.testing.assert_array_equal(trajectory.states[:12], log.states[::5])
    np.testing.assert_array_equal(np.diff(trajectory.time_us[11:]), 500_000)
    np.testing.assert_array_equal(trajectory.states[12:], np.repeat(log.states[-1:], 5, axis=0))
    with pytest.raises(InvalidTrajectory, match="no row at 0 us"):
        LogFuture(Trajectory.from_poses(times + 7, log.poses)).plan(scene(0.0, 1.0), {})
