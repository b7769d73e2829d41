"""Driving planners with learned costs: plans, batches, learning, recovery of hidden weights, bad input."""

import numpy as np
import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.envs.driving.simulation.planner_runs import simulate_batch
from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners import DrivingPlanner
from embodia.planners.driving.learned.actors import MOTIONS, actors_of, collide, labels
from embodia.planners.driving.learned.centreline import centreline
from embodia.planners.driving.learned.cost_volume import read_volume
from embodia.planners.driving.learned.dsdnet import DSDNet, DSDNetConfig
from embodia.planners.driving.learned.insight import shares
from embodia.planners.driving.learned.joint_planner import JointPlanner, JointPlannerConfig
from embodia.planners.driving.learned.mp3 import MP3Config, MP3Planner
from embodia.planners.driving.learned.neural_motion_planner import NeuralMotionPlanner
from embodia.planners.driving.learned.occupancy_flow import at_constant_velocity, read_over_time
from embodia.planners.driving.learned.plan_features import FEATURES, features, ground
from embodia.planners.driving.learned.refinement import refined
from embodia.planners.driving.learned.road_view import view_of_rows
from embodia.planners.driving.learned.trajectory_regression import TrajectoryRegression
from embodia.planners.driving.learned.trajectory_sampler import SamplerConfig, sample
from embodia.tests.planners.driving.lane_road import ROUTE, one, scene
from embodia.tests.planners.driving.learned.toy_views import toy_view

PLANNERS = (NeuralMotionPlanner, TrajectoryRegression, JointPlanner, DSDNet, MP3Planner)


def made(kind, seed=0):
    torch.manual_seed(seed)
    return kind().eval()


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_plan_starts_at_the_ego_and_lasts_eight_seconds(kind, road):
    planner = made(kind)
    assert isinstance(planner, DrivingPlanner)
    trajectory, carry = planner.plan(scene(20.0, 5.0), planner.initial(ROUTE, None, road))
    assert len(trajectory.time_us) == 17
    assert trajectory.end_us == 8_000_000
    np.testing.assert_allclose(trajectory.poses[0], scene(20.0, 5.0).ego.pose, atol=0.05)
    insight = planner.insight(carry)
    assert len(insight.strokes) >= 1
    assert planner.insight({}) is None


@pytest.mark.parametrize("kind", PLANNERS)
def test_plans_of_many_scenes_are_those_of_each_alone(kind, road):
    planner = made(kind)
    scenes = [scene(20.0, 5.0), scene(40.0, 9.0, one(60.0)), scene(70.0, 2.0, y=0.4)]
    together = planner.plans(scenes, [planner.initial(ROUTE, None, road) for _ in scenes])
    for each, (trajectory, _) in zip(scenes, together):
        alone, _ = planner.plan(each, planner.initial(ROUTE, None, road))
        np.testing.assert_allclose(trajectory.poses, alone.poses, atol=1e-3)


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_route_off_the_map_is_named(kind, road):
    with pytest.raises(ValueError, match=r"road.*'77'"):
        made(kind).initial(["77"], None, road)


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_loss_falls_and_training_resumes_exactly(kind, drives, tmp_path):
    def trained(steps, folder, resume=False):
        planner = made(kind)
        before = float(planner.loss(drives)[0].detach())
        picks = RandomBatches(lambda generator, n: rows_of(drives, generator.integers(60, size=n)))
        config = FitConfig(steps=steps, batch_size=8, learning_rate=0.01, warmup=1, schedule="constant")
        fit(planner, picks, config, folder, resume=resume)
        return planner, before - float(planner.loss(drives)[0].detach())

    whole, fallen = trained(20, tmp_path / "whole")
    assert fallen > 0
    trained(10, tmp_path / "parts")
    parts, _ = trained(20, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, parts.state_dict()[name], msg=name, atol=0, rtol=0)


def rows_of(drives, index):
    seen = {key: value[index] for key, value in drives["obs"].items()}
    return {"obs": seen, "extras": {"expert_action": drives["extras"]["expert_action"][index]}}


def test_a_learned_planner_drives_many_scenarios_as_each_alone(scenarios):
    planner = made(JointPlanner)
    together = simulate_batch(scenarios, planner)
    assert all(outcome.error is None for outcome in together)
    (alone,) = simulate_batch(scenarios[1:2], planner)
    np.testing.assert_allclose(together[1].history.ego, alone.history.ego, atol=1e-2)
    assert np.ptp(together[0].history.ego[:, 0]) > 25, "it gets on"


def test_the_interpretable_cost_avoids_an_obstacle_and_says_why(road):
    planner = made(JointPlanner)
    with torch.no_grad():
        planner.log_weights[FEATURES.index("collision")] = 5.0
    start = planner.initial(ROUTE, None, road)
    free, _ = planner.plan(scene(20.0, 8.0), dict(start))
    behind, carry = planner.plan(scene(20.0, 8.0, one(40.0)), dict(start))
    gap_x, gap_y = np.abs(behind.poses[:, :2] + [PACIFICA.rear_axle_to_center, 0] - [40.0, 0.0]).T
    assert ((gap_x > PACIFICA.length / 2 + 2) | (gap_y > PACIFICA.width / 2 + 1)).all(), "it stops or changes lanes"
    assert np.abs(free.poses[:, 1]).max() < 0.5
    parts = shares(carry["judged"], carry["row"])
    assert sum(parts.values()) == pytest.approx(1.0, abs=1e-5)
    assert "progress" in parts


def test_refinement_never_costs_more_and_improves_on_a_coarse_sample():
    view = toy_view(n=2, speed=6.0, aside=0.6)
    line = centreline(view)
    around, weights = ground(view, line), made(JointPlanner).weights.detach()
    start = sample(view, line, SamplerConfig((0.0,), (0.0,), (), ()))

    def cost(tried):
        return features(view, around, tried) @ weights

    end = refined(view, line, start, cost, 5)
    assert (cost(end) < cost(start) - 0.05).all(), "it speeds up"
    assert (end.poses[:, 0, 0] - start.poses[:, 0, 0]).abs().max() < 1e-4
    again = refined(view, line, end, cost, 5)
    assert (cost(again) <= cost(end) + 1e-5).all()


def test_samples_alone_and_gradients_alone_are_controls():
    costs = {}
    for search in ("both", "samples", "gradient"):
        planner = JointPlanner(JointPlannerConfig(search=search)).eval()
        view = toy_view(speed=8.0, objects=((28.0, 0.0, 0.0, 2.0, 0.0),))
        line = centreline(view)
        judged = planner.judge(view, line, planner.candidates(view, line))
        with torch.no_grad():
            chosen = planner.chosen(view, line, judged)
            costs[search] = float(planner.judge(view, line, chosen).cost)
    assert costs["both"] < costs["samples"]
    assert costs["both"] < costs["gradient"]


def test_the_volume_is_read_at_the_time_of_each_pose():
    volume = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 40, 24).contiguous()
    view = toy_view()
    samples = sample(view, centreline(view))
    found = read_volume(volume, samples.poses)
    torch.testing.assert_close(found, torch.arange(10.0).expand_as(found))


def test_actors_futures_start_from_their_motion_and_brake_to_a_stop():
    view = toy_view(objects=((20.0, 0.0, 0.0, 4.0, 0.0), (10.0, 3.5, np.pi, -6.0, 0.0)))
    actors = actors_of(view)
    assert actors.there[0].tolist() == [True, True, False, False]
    steady = MOTIONS.index((0.0, 0.0))
    torch.testing.assert_close(actors.boxes[0, 0, steady, :, 0], 20 + 2.0 * torch.arange(1.0, 11.0))
    assert actors.boxes[0, 0, 0, -1, 0] == pytest.approx(20 + 4.0**2 / 8)
    assert actors.boxes[0, 1, steady, -1, 0] == pytest.approx(10 - 30.0, abs=1e-4)


def test_futures_that_cross_collide():
    view = toy_view(objects=((20.0, 0.0, 0.0, 5.0, 0.0), (40.0, 0.0, np.pi, -5.0, 0.0)))
    found = collide(actors_of(view))
    assert found[0, 0, 1, 4, 4]
    assert not found[0, 0, 1, 0, 0], "both brake"
    assert torch.equal(found, found.permute(0, 2, 1, 4, 3))


def test_labels_are_the_futures_that_came_true(drives):
    view = view_of_rows(drives["obs"])
    actors = actors_of(view)
    label, known = labels(view, actors)
    moving = known & (actors.speed > 1)
    assert moving.any()
    assert (label[moving] == 4).all(), "these cars keep their speed"
    with pytest.raises(ValueError, match="record drives with the observation `futures`"):
        labels(toy_view(), actors_of(toy_view()))


def test_independent_forecasts_ignore_collisions():
    view = toy_view(objects=((20.0, 0.0, 0.0, 5.0, 0.0), (40.0, 0.0, np.pi, -5.0, 0.0)))
    around = ground(view, centreline(view))
    torch.manual_seed(0)
    joint = DSDNet()
    alone = DSDNet(DSDNetConfig(joint=False))
    alone.load_state_dict(joint.state_dict())
    actors = actors_of(view)
    touching = collide(actors)[0, 0, 1].float()
    both = [planner.log_marginals(around, actors).exp()[0] for planner in (joint, alone)]
    clash = [float((each[0] @ touching @ each[1]).detach()) for each in both]
    assert clash[0] < clash[1]


def test_occupancy_flows_with_the_objects():
    view = toy_view(objects=((20.0, 0.0, 0.0, 4.0, 0.0),))
    field = at_constant_velocity(view)
    points = torch.tensor([[20.0 + 2.0 * (k + 1), 0.0] for k in range(10)]).view(1, 1, 10, 1, 2)
    occupied = read_over_time(field.occupancy[:, :, None], points)[..., 0]
    flow = read_over_time(field.flow, points)
    assert occupied.min() > 0.9
    torch.testing.assert_close(flow[0, 0, :, 0], torch.tensor([4.0, 0.0]).expand(10, 2), atol=0.05, rtol=0)
    away = points + torch.tensor([0.0, 3.0])
    assert read_over_time(field.occupancy[:, :, None], away).max() < 0.01


def test_without_flow_a_leader_that_drives_off_stays_in_the_way():
    view = toy_view(speed=8.0, objects=((14.0, 0.0, 0.0, 8.0, 0.0),))
    line = centreline(view)
    steady = sample(view, line, SamplerConfig((0.0,), (0.0,), (), ()))
    flowing, standing = (MP3Planner(MP3Config(field=each)).terms(view, line, steady)[0, 0]
                         for each in ("constant-velocity", "standing"))  # fmt: skip
    assert flowing[0] < 0.05
    assert standing[0] > 0.3
