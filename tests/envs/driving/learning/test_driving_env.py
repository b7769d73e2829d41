"""The batched learning environment against the exact simulation: dynamics, contacts, drivable area, scores, state."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from embodia.envs import NoExpert
from embodia.envs.driving.learning import pool
from embodia.envs.driving.learning.env import DrivingEnv
from embodia.envs.driving.learning.raster import BEV_BEHIND, BEV_SIZE
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.map.geometry import box_corners, boxes_intersect
from embodia.envs.driving.map.route_path import route_path
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.simulation import simulator
from embodia.envs.driving.simulation.arrays import GRID_SIZE, GRID_STEP
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE, PlannerError
from embodia.envs.driving.simulation.map_queries import outside
from embodia.envs.driving.simulation.plane import separation
from embodia.envs.driving.simulation.planner_runs import simulate
from embodia.envs.driving.simulation.worlds import TorchArrays
from embodia.envs.driving.types import StateColumn
from embodia.envs.driving.vehicle.bicycle import bicycle_step, ego_boxes
from embodia.envs.driving.vehicle.log_expert import LogExpert
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.logged_driver import LoggedDriver
from embodia.planners.driving.pdm_closed import PdmClosed
from embodia.tests.envs.driving.road import WIDTH, car, ego_history, join, scenario_on


@pytest.fixture(scope="module")
def scenarios(road_map):
    """Three drives along the road: alone, behind a slower car, and beside a parked one."""
    lead = [car("lead", 40.0 + 0.5 * k, velocity=(5.0, 0.0)) for k in range(81)]
    parked = [join(car("lead", 45.0 + 0.5 * k, velocity=(5.0, 0.0)), car("parked", 60.0, 1.75)) for k in range(81)]
    expert = ego_history(10.0, speed=5.0, num=81)
    return [scenario_on(road_map, expert, frames, token=str(i) * 16) for i, frames in enumerate((None, lead, parked))]


def worlds_of(scenarios, index):
    arrays = TorchArrays(scenarios, 8, torch.device("cpu"))
    return arrays, simulator.start(arrays, torch.tensor(index))


def test_the_bicycle_is_the_closed_loops():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(64, 11)) * [5, 5, 1, 5, 0, 1, 0, 0.3, 0.1, 0.2, 0.1]
    commands = rng.normal(size=(64, 2)) * [2, 0.5]
    ours = simulator.bicycle(torch.tensor(states), torch.tensor(commands)).numpy()
    np.testing.assert_allclose(ours, bicycle_step(states, commands[:, 0], commands[:, 1], 0.1), atol=1e-12)


def test_contacts_are_the_exact_ones():
    rng = np.random.default_rng(0)
    a = np.stack([rng.normal(size=(2, 4000)).T * 3, rng.normal(size=(2, 4000)).T], 1).reshape(4000, 4)
    boxes_a = np.column_stack([a[:, :3], rng.uniform(1, 6, (4000, 2))])
    boxes_b = np.column_stack([np.zeros((4000, 3)), rng.uniform(1, 6, (4000, 2))])
    fast = (separation(torch.tensor(boxes_a), torch.tensor(boxes_b)) <= 0).numpy()
    exact = boxes_intersect(boxes_a, boxes_b)
    assert 0.2 < exact.mean() < 0.9
    assert (fast == exact).all()


def test_the_grid_agrees_with_the_polygons(scenarios, road_map):
    """Off the drivable area by 0.3 m or not: the same answer but within 0.2 m of that line."""
    arrays, worlds = worlds_of(scenarios[:1], [0] * 4000)
    rng = np.random.default_rng(0)
    ego = np.zeros((4000, 11))
    ego[:, 0], ego[:, 1], ego[:, 2] = rng.uniform(0, 60, 4000), rng.uniform(-4, 6, 4000), rng.normal(0, 0.3, 4000)
    moved = replace(worlds, ego=torch.tensor(ego, dtype=torch.float32))
    fast = outside(arrays, moved).numpy()
    ego[:, :2] += scenarios[0].ego[scenarios[0].start, :2]
    corners = box_corners(ego_boxes(ego)).reshape(-1, 2)
    exact = np.maximum(road_map.drivable_area.distance(corners).reshape(4000, 4).max(1), 0)
    clear = np.abs(exact - simulator.OFF_ROAD) > 0.2
    assert ((fast >= simulator.OFF_ROAD) == (exact >= simulator.OFF_ROAD))[clear].all()
    beyond = (exact > 0) & (exact < 3)
    assert np.abs(fast - exact)[beyond].max() < 0.2
    assert arrays.grid.shape[1:] == (GRID_SIZE, GRID_SIZE)
    assert GRID_SIZE * GRID_STEP == 256


def test_the_route_runs_along_its_lane_and_changes_over_where_it_must(road_map):
    path = route_path(road_map, ("10", "13", "11"), np.array([10.0, -1.75, 0.0]), 300.0)
    np.testing.assert_allclose(path.points[:, 1], -1.75)
    np.testing.assert_allclose(np.linalg.norm(np.diff(path.points, axis=0), axis=1), 1.0)
    assert path.limits[10] == pytest.approx(11.176)
    assert path.limits[200] == 15.0
    with pytest.raises(ValueError, match="roadblocks"):
        route_path(road_map, ("nowhere",), np.zeros(3), 100.0)


def test_driving_like_the_expert_earns_one_and_scores_well(scenarios):
    env = DrivingVectorEnv(3, scenarios, rules="nuplan")
    env.reset(options={"scenario": [0, 1, 2]})
    total = np.zeros(3)
    for step in range(79):
        _, reward, terminated, truncated, info = env.step(env.expert_action())
        total += reward
        assert not terminated.any()
        assert truncated.any() == (step == 78)
    np.testing.assert_allclose(total, 79 / 80, atol=0.02)  # all but the last of the expert's steps
    assert info["_metrics"].all()
    assert (info["metrics"]["success"] == 1).all()
    np.testing.assert_allclose(info["metrics"]["ego_progress_along_expert_route"], 1, atol=0.03)


@pytest.mark.parametrize("rules", ["learning", "nuplan"])
def test_running_into_a_car_is_the_egos_fault_and_ends_a_lesson(scenarios, rules):
    env = DrivingVectorEnv(2, scenarios, rules=rules)
    env.reset(options={"scenario": [1, 0]})
    ended, rewards = [], []
    for _ in range(79):
        _, reward, terminated, truncated, info = env.step(np.array([[1.0, 0.0], [0.0, 0.0]], np.float32))
        rewards.append(reward[0])
        ended.append(terminated.tolist())
        if terminated[0] or truncated[0]:
            break
    assert ended[-1] == [rules == "learning", False]  # nuPlan's loop goes on
    assert (len(ended) == 79) == (rules == "nuplan")
    danger, fault = np.sort(np.flatnonzero(np.array(rewards) < -0.2))  # once each, however long they last
    assert rewards[danger] == pytest.approx(-0.3, abs=0.1)
    assert rewards[fault] == pytest.approx(-1, abs=0.1)
    assert 0 < fault - danger <= 9  # steps of 0.1 s
    assert info["metrics"]["no_ego_at_fault_collisions"][0] == 0
    assert info["metrics"]["score"][0] == 0


def test_leaving_the_road_ends_it(scenarios):
    env = DrivingVectorEnv(1, scenarios[:1])
    env.reset(seed=0)
    for _ in range(60):
        _, _, terminated, _, info = env.step(np.array([[0.0, -1.0]], np.float32))
        if terminated[0]:
            break
    assert info["metrics"]["drivable_area_compliance"][0] == 0
    y = float(env.drives.worlds.ego[0, 1]) + scenarios[0].ego[scenarios[0].start, 1]
    assert y < -WIDTH / 2


def test_reactive_traffic_brakes_for_a_standing_ego(road_map):
    """A car behind, on its logged way through the ego's place: replayed it drives through, reactive it stops."""
    frames = [car("behind", -5.0 + 0.8 * k + 10, velocity=(8.0, 0.0)) for k in range(81)]
    expert = ego_history(40.0, speed=8.0, num=81)
    scenario = scenario_on(road_map, expert, frames)
    brake = np.array([[-1.0, 0.0]], np.float32)
    touched = {}
    for reactive in (False, True):
        env = DrivingVectorEnv(1, [scenario], reactive=reactive)
        env.reset(seed=0)
        for _ in range(70):
            speed = float(env.drives.worlds.ego[0, StateColumn.VX])
            _, _, terminated, _, _ = env.step(brake if speed > 0.2 else np.zeros((1, 2), np.float32))
            assert not terminated[0]  # being hit from behind is not the ego's fault
        touched[reactive] = bool(env.drives.worlds.hit.any())
    assert touched == {False: True, True: False}


def test_observations_are_in_the_egos_frame(scenarios):
    env = DrivingVectorEnv(1, scenarios, observation=("ego", "agents", "lanes", "route", "bev"))
    obs, _ = env.reset(options={"scenario": [1]})
    np.testing.assert_allclose(obs["ego"][0, :2], [0.5, 0.0], atol=1e-5)  # 5 m/s, in units of 10
    np.testing.assert_allclose(obs["agents"][0, 0, :2], [3.0, 0.0], atol=1e-4)  # 30 m ahead, in units of 10
    assert obs["agents_mask"][0].tolist() == [1.0] + [0.0] * 19
    ahead = obs["route"][0, :, 0]
    assert (np.diff(ahead[:15]) > 0).all()
    np.testing.assert_allclose(obs["route"][0, :15, 1], 0, atol=1e-4)
    bev = obs["bev"][0]
    row = int(BEV_SIZE - BEV_BEHIND - 30)
    assert bev[row, BEV_SIZE // 2, 3] == 255  # the lead car
    assert bev[row, BEV_SIZE // 2, 0] == 255
    assert bev[row, 2, 0] == 0  # 30 m to the left there is no road
    assert env.observation_space.contains(obs)


def test_snapshots_bring_the_same_future_back(scenarios):
    env, other = (DrivingVectorEnv(4, scenarios, rules="nuplan", reactive=True) for _ in range(2))
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(rng.uniform(-0.3, 0.3, (4, 2)).astype(np.float32))
    state = env.get_state()
    actions = rng.uniform(-1, 1, (90, 4, 2)).astype(np.float32)
    futures = []
    for where in (env, other):
        where.set_state(state)
        futures.append([where.step(action) for action in actions])
    for (obs, *rest, info), (obs2, *rest2, info2) in zip(*futures, strict=True):
        for key in obs:
            np.testing.assert_array_equal(obs[key], obs2[key])
        for a, b in zip(rest, rest2, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_equal(info, info2)


def test_reset_mask_leaves_the_others_alone(scenarios):
    env = DrivingVectorEnv(3, scenarios)
    env.reset(seed=[0, 1, 2])
    for _ in range(5):
        obs, *_ = env.step(np.zeros((3, 2), np.float32))
    after, _ = env.reset(seed=[None, 7, None], options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after["ego"][[0, 2]], obs["ego"][[0, 2]])
    assert int(env.drives.worlds.t[1]) == 0
    assert int(env.drives.worlds.scenario[1]) == 7 % 3


@pytest.mark.parametrize("action", ["continuous", "manoeuvre", "trajectory"])
def test_the_single_environment_keeps_gymnasiums_contract(scenarios, action):
    env = DrivingEnv(scenarios=scenarios, action=action, observation=("ego", "agents", "lanes", "route", "bev"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*minimum value.*infinity.*|.*maximum value.*infinity.*")
        warnings.filterwarnings("ignore", message=".*normalized.*|.*render.*")
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    assert env.render().shape == (512, 512, 3)
    if action == "manoeuvre":
        with pytest.raises(NoExpert, match="continuous"):
            env.expert_action()


def test_manoeuvres_change_lanes_and_speed(scenarios):
    env = DrivingVectorEnv(1, scenarios[:1], action="manoeuvre")
    env.reset(seed=0)
    for step in range(60):
        env.step(np.array([3 * (1 if step < 10 else 0) + 2]))  # left for a second, always faster
    assert float(env.drives.worlds.path_offset[0]) == pytest.approx(3.5, abs=0.3)
    assert float(env.drives.worlds.ego[0, StateColumn.VX]) > 8


def test_mistakes_are_said(scenarios):
    with pytest.raises(ValueError, match="no driving scenarios"):
        DrivingVectorEnv(1, [])
    with pytest.raises(ValueError, match="lidar"):
        DrivingVectorEnv(1, scenarios, observation=("lidar",))
    env = DrivingVectorEnv(2, scenarios)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros((2, 2), np.float32))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="world 1, step 0"):
        env.step(np.array([[0, 0], [np.nan, 0]], np.float32))


@pytest.mark.parametrize("rules", ["learning", "nuplan"])
def test_a_drive_cut_short_is_scored_and_levels_have_names(scenarios, rules):
    options = {"scenarios": scenarios, "rules": rules, "action": "trajectory"}
    env = gym.make("embodia:embodia/DrivingTrajectory-v0", max_episode_steps=3, **options)
    names = {env.reset(seed=seed)[1]["level"] for seed in (0, 1, 3)}
    assert len(names) == 2
    assert all("synthetic-log/" in name for name in names)
    for _ in range(3):
        *_, truncated, _ = env.step(env.unwrapped.expert_action())
    assert truncated
    assert env.unwrapped.metrics()["no_ego_at_fault_collisions"] == 1


def test_ids_are_registered():
    assert gym.spec("embodia/Driving-v0").vector_entry_point.endswith("DrivingVectorEnv")


MAKERS = {
    "idm": lambda scenario: IdmPlanner(),
    "pdm": lambda scenario: PdmClosed(),
    "log": lambda scenario: LogFuture(scenario.expert),
}


@pytest.mark.parametrize(
    ("action", "reactive", "planner"),
    [
        ("trajectory", False, "pdm"),
        ("trajectory", True, "idm"),
        ("trajectory", False, "log"),
        ("continuous", True, "log"),
    ],
)
def test_a_planner_as_the_expert_drives_as_in_the_closed_loop(scenarios, action, reactive, planner):
    make = MAKERS[planner]
    env = DrivingVectorEnv(3, scenarios, action=action, rules="nuplan", reactive=reactive, expert=make)
    env.reset(options={"scenario": [0, 1, 2]})
    for _ in range(79):
        _, _, _, truncated, info = env.step(env.expert_action())
    assert truncated.all()
    for i, scenario in enumerate(scenarios):
        history = simulate(scenario, make(scenario), REACTIVE if reactive else NONREACTIVE)
        np.testing.assert_array_equal(env.drives.driven(i, len(history.ego)), history.ego)
        for name, value in score_history(history).metrics.items():
            assert info["metrics"][name][i] == value, name


def test_a_planners_answer_is_its_whole_plan_only_where_it_was_given(scenarios):
    """Any other action is what it says, and a snapshot keeps the answer."""
    env, other, changed = (
        DrivingVectorEnv(1, scenarios[1:2], action="trajectory", rules="nuplan", expert=lambda _: PdmClosed())
        for _ in range(3)
    )
    env.reset(seed=0)
    action = env.expert_action()
    np.testing.assert_array_equal(env.expert_action(), action)
    state = env.get_state()
    env.step(action)
    other.set_state(state)
    other.step(action)
    np.testing.assert_array_equal(other.drives.driven(0, 2), env.drives.driven(0, 2))
    changed.set_state(state)
    changed.step(action + np.float32(1e-3))
    assert np.abs(changed.drives.driven(0, 2)[1] - env.drives.driven(0, 2)[1]).max() > 1e-6
    state["answers"] = [None]
    changed.set_state(state)
    changed.step(action)  # the 17 poses alone
    assert 1e-7 < np.abs(changed.drives.driven(0, 2)[1] - env.drives.driven(0, 2)[1]).max() < 0.1


def test_scenarios_beyond_the_room_make_way_and_change_nothing(road_map, monkeypatch):
    made = [scenario_on(road_map, ego_history(10.0 + i, speed=5.0, num=31), token=f"{i:016x}") for i in range(6)]
    seen = []
    for room in (1024, 2):
        monkeypatch.setattr("embodia.envs.driving.simulation.worlds.ROOM", room)
        env = DrivingVectorEnv(2, made, rules="nuplan")
        rows = [env.reset(options={"scenario": [0, 1]})[0]]
        for number in (2, 3, 4, 5, 0, 1):
            options = {"scenario": [number, 0], "reset_mask": np.array([True, False])}
            rows += [env.reset(options=options)[0], env.step(np.zeros((2, 2), np.float32))[0]]
        assert len(env.arrays.ego) == min(6, max(room, 4))
        state = env.get_state()
        env.reset(options={"scenario": [5, 4]})
        rows.append(env.set_state(state))
        seen.append(rows)
    for a, b in zip(*seen, strict=True):
        np.testing.assert_equal(a, b)


def test_scenarios_of_different_lengths_step_together(road_map):
    """As nuPlan's logs do, whose sweeps jitter: each world ends with its own scenario and is scored as if alone."""
    lengths = (61, 59, 60)
    made = [scenario_on(road_map, ego_history(10.0 + i, speed=5.0, num=num)) for i, num in enumerate(lengths)]
    together = DrivingVectorEnv(3, made, action="trajectory", rules="nuplan", reactive=True, expert=MAKERS["idm"])
    together.reset(options={"scenario": [1, 0, 2]})
    ended = {}
    for step in range(1, 60):
        *_, truncated, info = together.step(together.expert_action())
        for i in np.flatnonzero(truncated).tolist():
            ended.setdefault(i, (step, {k: v[i] for k, v in info["metrics"].items() if not k.startswith("_")}))
    assert [ended[i][0] for i in range(3)] == [57, 59, 58]
    for i, number in enumerate((1, 0, 2)):
        exact = score_history(simulate(made[number], IdmPlanner(), REACTIVE)).metrics
        assert {name: ended[i][1][name] for name in exact} == exact


def test_a_planner_that_fails_is_named(scenarios):
    class Broken(IdmPlanner):
        def plan(self, scene, carry):
            raise ZeroDivisionError("no way")

    env = DrivingVectorEnv(1, scenarios, action="trajectory", expert=lambda scenario: Broken())
    env.reset(seed=0)
    with pytest.raises(PlannerError, match=r"iteration 0: planner Broken raised ZeroDivisionError: no way"):
        env.expert_action()


def test_the_logged_driver_comes_back_to_its_log():
    way = ego_history(0.0, y=0.0, speed=5.0, num=200)[:, :3]
    expert = LogExpert(way)
    times = np.array([0.0, 2.0, 8.0])
    np.testing.assert_allclose(expert.plan(10, way[10], times)[:, 0], 5 * times, atol=1e-9)
    late = expert.plan(10, way[0], times)  # 5 m behind its time
    np.testing.assert_allclose(late[:, 0], [0, 15 - 5 * np.exp(-1), 45 - 5 * np.exp(-4)], atol=1e-6)
    aside = expert.plan(10, way[10] + [0, 1.0, 0.1], times)
    np.testing.assert_allclose(aside[0], [-np.sin(0.1), -np.cos(0.1), -0.1], atol=1e-9)


def test_the_logged_driver_is_a_planner_too(scenarios):
    """Asked by the environment, or as a planner: the same drive, but for the 32 bits of an action."""
    driven = []
    for expert in (None, lambda scenario: LoggedDriver(scenario.expert)):
        env = DrivingVectorEnv(1, scenarios[1:2], action="trajectory", rules="nuplan", expert=expert)
        env.reset(seed=0)
        for _ in range(30):
            env.step(env.expert_action())
        driven.append(env.drives.driven(0, 31))
    np.testing.assert_allclose(*driven, atol=1e-5)


def test_the_path_begins_at_the_ego_and_changes_lanes_ahead_of_it(road_map):
    path = route_path(road_map, ("10", "13", "11"), np.array([100.0, -1.75, 0.0]), 300.0)
    np.testing.assert_allclose(path.points[0], [90.0, -1.75], atol=1e-6)
    assert len(path.points) == 301


def test_generated_scenarios_are_made_once(scenarios, tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("EMBODIA_CACHE", str(tmp_path))
    monkeypatch.setattr(pool, "generate_scenario", lambda seed, split: made.append(seed) or scenarios[seed])
    first = pool.scenario_pool("test", 3)
    assert len(first) == 3
    assert not made
    assert first[2].token == first[2].token == scenarios[2].token
    again = pool.scenario_pool("test", 2)
    assert [each.token for each in again] == [each.token for each in scenarios[:2]]
    assert pool.scenario_pool("test", 3)[2].token == scenarios[2].token
    assert made == [2, 0, 1]
