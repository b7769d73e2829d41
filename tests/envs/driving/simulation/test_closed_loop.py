"""The closed loop: what planners are shown, what is recorded, and how failures are reported."""

import time

import numpy as np
import pytest
import shapely

from embodia.envs.driving.map.road_map import PolygonLayer
from embodia.envs.driving.metrics.closed_loop_scores import score_histories, score_history
from embodia.envs.driving.metrics.open_loop_scores import score_open_loop
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import OPEN_LOOP, REACTIVE, PlannerError, Simulation, SimulationConfig
from embodia.envs.driving.simulation.planner_runs import simulate, simulate_batch
from embodia.envs.driving.types import InvalidTrajectory, StateColumn, TrackedObjectType, TrafficLightStatus, Trajectory
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road

C = StateColumn


class Straight:
    """Keeps the present speed and heading for 8 s."""

    def __init__(self, horizon=8.0):
        self.horizon = horizon
        self.scenes = []

    def initial(self, route_roadblock_ids, goal, map_api):
        return {"calls": 0}

    def plan(self, scene, carry):
        self.scenes.append(scene)
        times = np.arange(0, self.horizon + 1e-9, 0.5)
        ego = scene.ego
        states = np.zeros((len(times), 8))
        states[:, C.X] = ego.x + ego.vx * times * np.cos(ego.heading)
        states[:, C.Y] = ego.y + ego.vx * times * np.sin(ego.heading)
        states[:, C.HEADING], states[:, C.VX] = ego.heading, ego.vx
        stamps = scene.time_us + np.round(times * 1e6).astype(np.int64)
        return Trajectory(stamps, states), {"calls": carry["calls"] + 1}


class Log(Straight):
    """Returns the log's own future."""

    def __init__(self, scenario):
        super().__init__()
        self.trajectory = scenario.expert

    def plan(self, scene, carry):
        times = scene.time_us + 100_000 * np.arange(81)
        return Trajectory(times, self.trajectory.at(times)), carry


def long_scenario(road_map, frames=None, speed=8.0, num=151, **kwargs):
    """151 iterations and 8 s of future; stands still at the end of the road if it must."""
    ego = ego_history(10, speed=speed, num=num + 80)
    short = scenario_on(road_map, ego[:num], frames, **kwargs)
    times = short.time_us[0] + 100_000 * np.arange(short.start + len(ego))
    return Scenario(
        short.token, short.log_name, short.type, road_map, times, np.concatenate([short.ego[:21], ego]), short.start,
        num, short.tracks, short.lights, short.route, short.goal,
    )  # fmt: skip


def test_what_a_planner_is_shown(road_map):
    frames = [car("a", 60 + k, velocity=(10.0, 0.0)) for k in range(31)]
    lights = [{"7": TrafficLightStatus.RED} if k > 10 else {} for k in range(31)]
    scenario = scenario_on(road_map, ego_history(10, num=31), frames, lights)
    planner = Straight()
    history = simulate(scenario, planner)
    assert [scene.iteration for scene in planner.scenes] == list(range(30))
    first, last = planner.scenes[0], planner.scenes[-1]
    assert [len(first.ego_history), len(first.tracks_history), len(last.ego_history)] == [22, 22, 22]
    assert first.ego_history[0].time_us - first.time_us == -2_100_000
    assert first.ego.time_us == first.time_us == scenario.time_us[21]
    assert first.traffic_lights == {}
    assert last.traffic_lights == {"7": TrafficLightStatus.RED}
    assert last.tracks.boxes[0, 0] == 60 + 29
    assert len(history.ego) == len(history.tracks) == len(history.trajectories) == len(history.planning_time) == 30
    np.testing.assert_array_equal(history.time_us, scenario.time_us[21:51])


def test_log_playback_and_perfect_tracking(road_map):
    scenario = scenario_on(road_map, ego_history(10, speed=5.0, acceleration=1.0, num=31))
    played = simulate(scenario, Straight(), OPEN_LOOP)
    np.testing.assert_array_equal(played.ego, scenario.ego[21:51])
    tracked = simulate(scenario, Straight(), SimulationConfig(ego="perfect"))
    np.testing.assert_allclose(tracked.ego[:, C.X], 10 + 0.5 * np.arange(30), atol=1e-9)


def test_perfect_tracking_refuses_flying(road_map):
    scenario = scenario_on(road_map, ego_history(10, speed=60.0, num=31))
    with pytest.raises(PlannerError, match="60"):
        simulate(scenario, Straight(), SimulationConfig(ego="perfect"))


def test_lqr_follows_the_log(road_map):
    scenario = long_scenario(road_map)
    history = simulate(scenario, Log(scenario))
    np.testing.assert_allclose(history.ego[:, :3], scenario.ego[21:171, :3], atol=0.05)
    # the ego is recorded for one sample less than the expert, which costs 1/150 of the progress
    assert score_history(history).score == pytest.approx(1 - 5 / 16 / 150, abs=1e-4)


def test_open_loop_scores_of_the_log_itself_are_perfect(road_map):
    scenario = long_scenario(road_map)
    result = score_open_loop(simulate(scenario, Log(scenario), OPEN_LOOP))
    assert result.score == pytest.approx(1.0)
    assert result.statistics["ADE"] == pytest.approx(0.0, abs=1e-9)


def test_open_loop_errors_of_a_constant_offset(road_map):
    """A plan that runs 0.5 m/s ahead is off by 0.5 t: FDE is the mean of 1.5, 2.5, 4, ADE of (1, 1.5, 2.25)."""
    scenario = long_scenario(road_map)

    class Faster(Log):
        def plan(self, scene, carry):
            trajectory, carry = super().plan(scene, carry)
            states = trajectory.states.copy()
            states[:, C.X] += 0.05 * np.arange(81)
            return Trajectory(trajectory.time_us, states), carry

    history = simulate(scenario, Faster(scenario), OPEN_LOOP)
    result = score_open_loop(history)
    # the second counted twice at the scenario's end (see `expert_samples`) shortens the last seven windows by 1 s
    whole = {h: [0.5 * k for k in range(1, h + 1)] for h in (3, 5, 8)}
    expected = np.mean([[np.mean(whole[h]) for h in (3, 5, 8)] for _ in range(15)])
    assert result.statistics["ADE"] < expected
    assert result.statistics["ADE"] == pytest.approx(expected, rel=0.1)
    assert result.metrics["planner_miss_rate_within_bound"] == 1
    assert result.metrics["planner_expert_average_l2_error_within_bound"] == pytest.approx(
        1 - result.statistics["ADE"] / 8
    )


def test_open_loop_asks_for_the_future_and_for_long_plans(road_map):
    short = scenario_on(road_map, ego_history(10, num=31))
    with pytest.raises(ValueError, match="missing"):
        score_open_loop(simulate(short, Straight(), OPEN_LOOP))
    scenario = long_scenario(road_map)
    history = simulate(scenario, Straight(horizon=6.0), SimulationConfig("replay", "log", horizon=4.0))
    with pytest.raises(ValueError, match="ends 6"):
        score_open_loop(history)


def broken(planner, at, how):
    """A planner that does `how` at iteration `at`."""

    class Broken(type(planner)):
        def plan(self, scene, carry):
            return how(scene, super().plan(scene, carry)) if scene.iteration == at else super().plan(scene, carry)

    return Broken()


def fail(scene, plan):
    raise ZeroDivisionError("no idea")


def with_nan(scene, plan):
    states = plan[0].states.copy()
    states[3, C.Y] = np.nan
    return Trajectory(plan[0].time_us, states), plan[1]


def cut_short(scene, plan):
    return Trajectory(plan[0].time_us[:5], plan[0].states[:5]), plan[1]


def one_state(scene, plan):
    return Trajectory(plan[0].time_us[:1], plan[0].states[:1]), plan[1]


def late(scene, plan):
    return Trajectory(plan[0].time_us + 300_000, plan[0].states), plan[1]


def backwards(scene, plan):
    return Trajectory(plan[0].time_us[::-1], plan[0].states), plan[1]


def nothing(scene, plan):
    return None, plan[1]


def dawdle(scene, plan):
    time.sleep(5)
    return plan


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (fail, "ZeroDivisionError: no idea"),
        (with_nan, "state 3 of the trajectory has y = nan"),
        (cut_short, "too short: 2.00 s"),
        (one_state, "at least 2 states"),
        (late, r"starts \+0\.300 s from now"),
        (backwards, "times must increase"),
        (nothing, "returned NoneType, not a Trajectory"),
        (dawdle, "took longer than its 0.2 s"),
    ],
)
def test_a_failing_planner_gives_one_clear_error_and_the_others_finish(road_map, how, message):
    good = scenario_on(road_map, ego_history(10, num=11), token="1" * 16)
    bad = scenario_on(road_map, ego_history(10, num=31), token="2" * 16)
    also = scenario_on(road_map, ego_history(10, num=12), token="3" * 16)
    config = SimulationConfig(time_limit=0.2)
    begin = time.perf_counter()
    outcomes = simulate_batch([good, bad, also], broken(Straight(), 20, how), config)
    assert time.perf_counter() - begin < 4, "a planner that sleeps is interrupted"
    assert [o.history is not None for o in outcomes] == [True, False, True]
    assert outcomes[1].error is not None
    for part in ("2" * 16, "synthetic-log", "iteration 20", "Broken"):
        assert part in outcomes[1].error
    with pytest.raises(PlannerError, match=message):
        simulate(bad, broken(Straight(), 20, how), config)


@pytest.mark.parametrize("config", [SimulationConfig(), REACTIVE, OPEN_LOOP])
def test_scenarios_together_give_bit_for_bit_what_each_gives_alone(road_map, config):
    traffic = [join(car("a", 30 + 0.5 * k, velocity=(5.0, 0.0)), car("b", 60, y=1.75)) for k in range(40)]
    scenarios = [
        scenario_on(road_map, ego_history(10, speed=speed, num=num), traffic[:num], token=str(num) * 8)
        for speed, num in ((8.0, 31), (3.0, 12), (5.0, 25))
    ]
    planners = [Straight(), Straight(horizon=9.0), Straight()]
    together = [outcome.history for outcome in simulate_batch(scenarios, planners, config)]
    for scenario, planner, history, score in zip(scenarios, planners, together, score_histories(together)):
        alone = simulate(scenario, planner, config)
        np.testing.assert_array_equal(history.ego, alone.ego)
        for ours, theirs in zip(history.tracks, alone.tracks, strict=True):
            assert ours.tokens == theirs.tokens
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
            np.testing.assert_array_equal(ours.velocities, theirs.velocities)
        expected = score_history(alone)
        assert score.metrics == expected.metrics
        assert score.statistics == expected.statistics


def test_one_planner_each_or_one_for_all(road_map):
    scenarios = [scenario_on(road_map, ego_history(10, num=11), token=str(k) * 16) for k in range(2)]
    with pytest.raises(ValueError, match="shorter"):
        simulate_batch(scenarios, [Straight()])
    assert simulate_batch([], Straight()) == []


def test_a_planner_that_cannot_start_is_reported(road_map):
    class Stubborn(Straight):
        def initial(self, route_roadblock_ids, goal, map_api):
            raise KeyError(route_roadblock_ids[0])

    with pytest.raises(PlannerError, match="could not start: KeyError"):
        simulate(scenario_on(road_map, ego_history(10)), Stubborn())


def test_a_missing_route_is_reported(road_map):
    (outcome,) = simulate_batch([scenario_on(road_map, ego_history(10), route=())], Straight())
    assert outcome.history is None
    assert "no route" in str(outcome.error)


def test_trajectories_interpolate_linearly_and_turn_the_short_way():
    states = np.zeros((3, 8))
    states[:, C.X], states[:, C.HEADING] = [0, 1, 3], [3.0, -3.0, -2.9]
    trajectory = Trajectory([0, 1_000_000, 2_000_000], states)
    middle = trajectory.at([500_000, 1_500_000])
    np.testing.assert_allclose(middle[:, C.X], [0.5, 2.0])
    np.testing.assert_allclose(np.abs(middle[0, C.HEADING]), np.pi)
    with pytest.raises(InvalidTrajectory, match="spans"):
        trajectory.at(2_000_001)


# Reactive traffic


def reactive(road_map, frames, lights=None, ego=None, num=61):
    ego = ego_history(10, speed=0.0, num=num) if ego is None else ego
    simulation = Simulation(scenario_on(road_map, ego, [frames] * num, lights), REACTIVE)
    planner, carry, seen = Straight(), {"calls": 0}, []
    while not simulation.done:
        seen.append(simulation.traffic.tracks)
        simulation.advance(planner.plan(simulation.scene(), carry)[0])
    return seen


def test_who_becomes_an_agent(road_map):
    tracks = join(
        car("snapped", 50, y=-1.2, heading=0.1, velocity=(5.0, 0.5)),
        car("on the ego", 13),
        car("off the road", 50, y=-9),
        car("on another", 53, y=-2.5),
        car("bike", 80, kind=TrackedObjectType.BICYCLE),
        car("walker", 90, y=-6, kind=TrackedObjectType.PEDESTRIAN, size=(0.5, 0.5)),
    )
    first = reactive(road_map, tracks, num=3)[0]
    assert first.tokens == ("snapped", "walker")
    np.testing.assert_allclose(first.boxes[0], [50, -1.75, 0.0, 4.8, 2.0], atol=1e-9)
    np.testing.assert_allclose(first.velocities[0], [np.hypot(5, 0.5), 0.0], atol=1e-9)


def test_a_free_agent_speeds_up_until_the_end_of_its_path_brakes_it(road_map):
    ego = ego_history(200, y=5.25, speed=0.0, num=80)
    seen = reactive(road_map, car("a", 145, velocity=(12.0, 0.0)), ego=ego, num=80)
    v = np.array([t.velocities[0, 0] for t in seen])
    assert 13.5 < v.max() < 15
    assert v[-1] < v.max()
    # nothing ahead: the end of the path, one node short of the lane's end, is what it closes in on
    gap = 399 - 145 - 2.4
    expected = 12 + 0.1 * (1 - (12 / 15) ** 4 - ((1 + 12 * 1.5 + 12 * 12 / (2 * np.sqrt(2))) / gap) ** 2)
    assert v[1] == pytest.approx(expected, abs=1e-9)


def test_an_agent_stops_behind_the_ego(road_map):
    ego = ego_history(80, speed=0.0, num=151)
    seen = reactive(road_map, car("a", 40, velocity=(10.0, 0.0)), ego=ego, num=151)
    front = np.array([t.boxes[0, 0] + 2.4 for t in seen])
    assert np.all(np.diff(front) >= 0)
    assert 80 - 1.127 - front[-1] == pytest.approx(1.0, abs=0.5)
    assert seen[-1].velocities[0, 0] < 0.1


def test_agents_stop_at_a_red_light_and_start_at_green(road_map):
    lit = synthetic_road()
    lit.stop_polygons = PolygonLayer(["30"], [shapely.box(119.5, -3.5, 120.5, 3.5)])
    for connector in lit.connectors:
        object.__setattr__(connector, "stop_polygon_ids", ("30",))
    num = 151
    lights = [dict.fromkeys("67", TrafficLightStatus.RED if k < 100 else TrafficLightStatus.GREEN) for k in range(num)]
    ego = ego_history(40, y=1.75, speed=0.0, num=num)
    seen = reactive(lit, car("a", 80, velocity=(10.0, 0.0)), lights=lights, ego=ego, num=num)
    x = np.array([t.boxes[0, 0] for t in seen])
    assert x[99] + 2.4 < 119.5
    assert x[-1] > x[99] + 3


def test_far_agents_are_forgotten(road_map):
    ego = ego_history(10, speed=1.0, num=31)
    seen = reactive(road_map, join(car("near", 60), car("far", 160)), ego=ego, num=31)
    assert seen[0].tokens == ("near", "far")
    assert seen[1].tokens == ("near",)
