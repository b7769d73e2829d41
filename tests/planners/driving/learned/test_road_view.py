"""The view of the road: scenes and recorded observations show the same; a moved view is what is seen from there."""

import math
from dataclasses import fields

import pytest
import torch

from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.planners.driving.learned.road_view import (
    OBSERVATION,
    Road,
    RoadView,
    from_pose,
    seen_from,
    view_of_rows,
    view_of_scenes,
)
from embodia.tests.planners.driving.learned.toy_views import toy_view


def test_scenes_and_observations_give_the_same_view(scenarios):
    env = DrivingVectorEnv(3, scenarios, action="trajectory", observation=OBSERVATION, rules="nuplan")
    obs, _ = env.reset(seed=[0, 1, 2])
    roads = []
    for _ in range(12):
        action = env.expert_action() + 0.05  # a little beside the log
        scenes = [env.drives.scene(i) for i in range(3)]
        roads = roads or [Road.of(s.map, s.route, scene.ego) for s, scene in zip(scenarios, scenes)]
        rows = view_of_rows({key: torch.from_numpy(value) for key, value in obs.items()})
        seen = view_of_scenes(scenes, roads)
        for f in fields(RoadView):
            if f.name not in ("futures", "lanes"):
                torch.testing.assert_close(getattr(rows, f.name), getattr(seen, f.name), atol=1e-3, rtol=0)
        middles = [each.lanes[:, :, 5].flatten(1).sort(-1).values for each in (rows, seen)]  # ties come in any order
        torch.testing.assert_close(*middles, atol=1e-3, rtol=0)
        obs = env.step(action)[0]


def test_futures_are_where_the_recording_has_the_objects(drives):
    view = view_of_rows(drives["obs"])
    moving = view.there & (view.velocities[..., 0] > 1)
    assert moving.any()
    kept = view.boxes[..., 0] + 0.5 * view.velocities[..., 0]
    assert (view.futures[..., 0, 0] - kept)[moving].abs().max() < 0.05, "these cars keep their speed"
    assert (view.futures[..., 3][~view.there] == 0).all()


def test_rows_without_an_observation_are_refused(drives):
    rows = {key: value for key, value in drives["obs"].items() if not key.startswith("lanes")}
    with pytest.raises(KeyError, match=r"ego, agents, lanes, route, futures; the rows lack lanes"):
        view_of_rows(rows)


def test_points_seen_from_elsewhere():
    points = torch.tensor([[[10.0, 2.0]]])
    found = seen_from(points, torch.tensor([2.0]), torch.tensor([math.pi / 2]))
    torch.testing.assert_close(found, torch.tensor([[[0.0, -10.0]]]), atol=1e-5, rtol=0)


def test_a_view_from_aside_is_the_view_of_an_ego_aside():
    objects = ((20.0, 0.0, 0.0, 5.0, 0.0),)
    moved = from_pose(toy_view(objects=objects), torch.tensor([0.7]), torch.zeros(1))
    torch.testing.assert_close(moved.route, toy_view(aside=0.7).route)
    torch.testing.assert_close(moved.lanes[moved.lane_there], toy_view(aside=0.7).lanes[moved.lane_there])
    assert moved.boxes[0, 0, 1] == pytest.approx(-0.7)
