"""The greedy follower against habitat-sim's own action lists, and its rules one by one."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from embodia.envs.homes.experts.expert import DiscreteExpert
from embodia.envs.homes.experts.follower import (
    FORWARD,
    LEFT,
    RIGHT,
    STOP,
    FollowerError,
    GreedyGeodesicFollower,
    headings_to_a_side,
)
from embodia.envs.homes.experts.shortest_walk import shortest_walk
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.navmesh.navmesh import NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.tasks.navigation import TASKS

APARTMENT = Path(__file__).parents[1] / "data" / "apartment"


@pytest.fixture(scope="module")
def apartment():
    scene = load_scene(APARTMENT / "apartment.glb")
    return PathFinder(build_navmesh(scene.vertices, scene.faces, NavMeshSettings(agent_radius=0.18)))


@pytest.fixture(scope="module")
def cases():
    return json.loads((APARTMENT / "navigation.json").read_text())["follower"]


@pytest.fixture(scope="module")
def hall():
    floor = trimesh.creation.box(bounds=[(0, -0.2, 0), (8, 0, 8)])
    return PathFinder(build_navmesh(floor.vertices, floor.faces))


def walk(follower, position, yaw, actions):
    """Path length [m] and end of carrying actions out."""
    place, length = np.array(position, float), 0.0
    for action in actions:
        if action == FORWARD:
            end = follower.step(place, yaw)[0]
            place, length = end.astype(float), length + np.linalg.norm(end - place)
        yaw += follower.turn * ((action == LEFT) - (action == RIGHT))
    return length, place


def test_as_habitat_sim_goes(apartment, cases):
    follower = GreedyGeodesicFollower(apartment, 0.25, np.deg2rad(15), goal_radius=0.2)
    same = 0
    for case in cases:
        goals = apartment.goal_set(case["goal"])
        actions = follower.find_path(case["start"], 0.0, goals)
        ours, end = walk(follower, case["start"], 0.0, actions)
        theirs, _ = walk(follower, case["start"], 0.0, case["actions"])
        assert apartment.distance(end, goals) < 0.2, "arrived"
        assert ours == pytest.approx(theirs, rel=0.03)
        same += actions == case["actions"]
    assert same == 20, "action lists equal to habitat-sim's"


@pytest.mark.parametrize(("degrees", "tried"), [(10, 19), (15, 13), (30, 7), (45, 4), (90, 2)])
def test_turns_are_added_up_in_single_precision(degrees, tried):
    """habitat-sim's loop `for (float angle = 0; angle < pi; angle += turn)`, its rounding included."""
    assert headings_to_a_side(float(np.deg2rad(degrees))) == tried


def test_turns_back_by_half_a_turn(hall):
    """Straight behind: 18 turns of 10 degrees, which only rounding lets in."""
    follower = GreedyGeodesicFollower(hall, 0.25, np.deg2rad(10))
    assert follower.primitive([4, 0, 4], 0.0, hall.goal_set([4, 0, 7.5])) == [LEFT] * 18 + [FORWARD]


def test_straight_ahead_then_stop(hall):
    follower = GreedyGeodesicFollower(hall, 0.25, np.deg2rad(30))
    actions = follower.find_path([4, 0, 6], 0.0, hall.goal_set([4, 0.2, 4.6]))
    assert actions == [FORWARD] * 5 + [STOP]


@pytest.mark.parametrize(("goal", "first"), [([1, 0, 4], LEFT), ([7, 0, 4], RIGHT), ([4, 0, 7.5], LEFT)])
def test_turns_to_the_nearer_side_and_left_on_a_tie(hall, goal, first):
    follower = GreedyGeodesicFollower(hall, 0.25, np.deg2rad(30))
    assert follower.next_action([4, 0, 4], 0.0, hall.goal_set(goal)) == first


def test_unreachable_goals_are_an_error(hall):
    follower = GreedyGeodesicFollower(hall)
    with pytest.raises(FollowerError, match="No path leads from"):
        follower.next_action([4, 0, 4], 0.0, hall.goal_set([90, 0, 4]))
    assert follower.find_path([4, 0, 4], 0.0, hall.goal_set([90, 0, 4])) == []


def test_thrashing_commits_to_a_whole_primitive(hall):
    follower = GreedyGeodesicFollower(hall, turn=np.deg2rad(30))
    assert follower.is_thrashing([LEFT, RIGHT] * 8)
    assert not follower.is_thrashing([LEFT, RIGHT] * 7)
    assert not follower.is_thrashing([FORWARD, *[LEFT, RIGHT] * 7, LEFT])
    expert, goals = DiscreteExpert(TASKS["ObjectNav"]), hall.goal_set([1, 0, 4])
    for action in [LEFT, RIGHT] * 8:
        expert.done(action)
    turned = np.array([0, 0, 0, 1.0])
    carried_out = []
    for _ in range(4):
        carried_out.append(expert.action(hall, np.array([4, 0, 4.0]), turned, goals))
        expert.done(carried_out[-1])
    assert carried_out == [LEFT, LEFT, LEFT, FORWARD], "though the pose handed in never changed"
    assert expert.committed == []


def test_the_shortest_walk_bounds_the_follower(apartment, cases):
    follower = GreedyGeodesicFollower(apartment, 0.25, np.deg2rad(15), goal_radius=0.2)
    for case in cases[:8]:
        goals = apartment.goal_set(case["goal"])
        best = shortest_walk(follower, case["start"], 0.0, goals)
        assert best[-1] == STOP
        length, end = walk(follower, case["start"], 0.0, best)
        assert apartment.distance(end, goals) < 0.2
        greedy = walk(follower, case["start"], 0.0, case["actions"])[0]
        assert length <= 1.005 * greedy
        assert length >= apartment.distance(case["start"], goals) - 0.2 - 1e-6, "no shorter than the geodesic"


def test_no_walk_leads_to_an_unreachable_goal(hall):
    assert shortest_walk(GreedyGeodesicFollower(hall), [4, 0, 4], 0.0, hall.goal_set([90, 0, 4])) == []
