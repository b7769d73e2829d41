"""The trajectory sampler: speeds, curvature, lane keeping, lane changes, clothoids; batches equal single views."""

import math
from dataclasses import fields, replace

import pytest
import torch

from embodia.planners.driving.learned.centreline import centreline
from embodia.planners.driving.learned.road_view import CENTRE
from embodia.planners.driving.learned.trajectory_sampler import (
    ACCELERATIONS,
    FREE,
    INTERVAL,
    KEEP,
    LANE_WIDTH,
    LEFT,
    OFFSETS,
    RIGHT,
    SHORT_ACCELERATIONS,
    SamplerConfig,
    Samples,
    recorded,
    sample,
)
from embodia.tests.planners.driving.learned.toy_views import LIMIT, arc, toy_view

PROFILES = len(ACCELERATIONS) + len(SHORT_ACCELERATIONS)


def sampled(view, **config):
    return sample(view, centreline(view), SamplerConfig(**config))


def steady(samples):
    """Row of the trajectory that keeps lane and speed."""
    return ACCELERATIONS.index(0.0)


def test_constant_speed_on_a_straight_road_is_a_straight_line():
    poses = sampled(toy_view(speed=6.0)).poses[0, steady(None)]
    torch.testing.assert_close(poses[:, 0], 6.0 * INTERVAL * torch.arange(17), atol=1e-4, rtol=0)
    assert poses[:, 1:].abs().max() < 1e-4


def test_speeds_follow_their_accelerations_and_stay_between_zero_and_the_limit():
    samples = sampled(toy_view(speed=6.0), offsets=(0.0,), curvatures=())
    assert samples.poses.shape == (1, PROFILES, 17, 3)
    for row, rate in enumerate(ACCELERATIONS):
        speed = (6.0 + rate * INTERVAL * torch.arange(17)).clamp(0.0, LIMIT)
        torch.testing.assert_close(samples.speed[0, row], speed, atol=1e-4, rtol=0)
    short = samples.speed[0, PROFILES - len(SHORT_ACCELERATIONS)]
    torch.testing.assert_close(short[2:], torch.full((15,), 3.0), atol=1e-4, rtol=0)
    braked = samples.s[0, 0, -1] - samples.s[0, 0, 0]
    assert braked == pytest.approx(6.0**2 / (2 * 4.0), abs=0.02), "the stopping distance"
    assert sampled(toy_view(speed=13.0)).speed.max() == 13.0, "an ego above the limit need not be slower at once"


def test_trajectories_begin_at_the_ego_and_keep_their_lane_on_a_bend():
    view = toy_view(speed=8.0, radius=25.0)
    samples = sampled(view)
    poses = samples.poses[0, steady(samples)]
    assert samples.poses[0, :, 0].abs().max() < 0.02
    centre = torch.tensor([0.0, 25.0])
    assert ((poses[:10, :2] - centre).norm(dim=-1) - 25.0).abs().max() < 0.1
    assert (samples.curvature[0, steady(samples), 3:9] - 1 / 25).abs().max() < 0.005


def test_an_ego_aside_of_its_lane_comes_back_smoothly():
    samples = sampled(toy_view(speed=8.0, aside=1.0))
    d = samples.d[0, steady(samples)]
    assert d[0] == pytest.approx(1.0, abs=1e-3)
    assert d[-1].abs() < 1e-3
    assert (d.diff() <= 1e-5).all(), "without overshooting"
    assert samples.poses[0, :, 0, 2].abs().max() < 1e-3, "its first heading is the ego's own"


def test_lane_changes_end_a_lane_aside_and_are_told_by_their_behaviour():
    samples = sampled(toy_view(speed=8.0))
    for offset, behaviour in ((LANE_WIDTH, LEFT), (-LANE_WIDTH, RIGHT), (0.4, KEEP)):
        row = OFFSETS.index(offset) * PROFILES + steady(samples)
        assert samples.d[0, row, -1] == pytest.approx(offset, abs=1e-3)
        assert samples.behaviour[0, row] == behaviour
    assert (samples.behaviour[0, len(OFFSETS) * PROFILES :] == FREE).all()


def test_clothoids_end_on_circles_of_their_curvature():
    samples = sampled(toy_view(speed=6.0), offsets=(0.0,), curvatures=(0.1,))
    free = samples.choose(torch.tensor([[PROFILES + 2]]))  # constant speed
    assert free.curvature[0, 0, 4:-1] == pytest.approx(torch.full((12,), 0.1), abs=2e-3)
    chord = free.poses[0, 0, 6:, :2].diff(dim=0).norm(dim=-1)
    assert chord == pytest.approx(torch.full((10,), 2 / 0.1 * math.sin(3.0 * 0.1 / 2)), abs=5e-3)


def test_a_batch_gives_what_its_views_give_alone_and_the_same_every_time():
    views = [toy_view(speed=3.0), toy_view(speed=9.0, radius=20.0), toy_view(speed=0.0, aside=-0.7)]
    stacked = replace(views[0], **{f.name: torch.cat([getattr(v, f.name) for v in views])
                                   for f in fields(views[0]) if f.name != "futures"})  # fmt: skip
    together, again = sampled(stacked), sampled(stacked)
    for row, view in enumerate(views):
        alone = sampled(view)
        for f in fields(Samples):
            torch.testing.assert_close(getattr(together, f.name)[row], getattr(alone, f.name)[0], atol=1e-4, rtol=1e-5)
            assert torch.equal(getattr(together, f.name), getattr(again, f.name))


def test_without_a_route_the_line_is_straight_on():
    view = toy_view(speed=5.0)
    nowhere = torch.zeros_like(view.on_route)
    lost = replace(view, route=1 + view.route, on_route=nowhere, limits=torch.zeros_like(view.limits))
    poses = sampled(lost).poses[0, steady(None)]
    torch.testing.assert_close(poses[:, 0], 5.0 * INTERVAL * torch.arange(17), atol=1e-3, rtol=0)
    assert poses[:, 1].abs().max() < 1e-3


def test_projection_inverts_the_line():
    line = centreline(toy_view(radius=30.0))
    s, d = torch.tensor([[0.0, 10.3, 42.7]]), torch.tensor([[0.5, -1.0, 2.0]])
    point, heading, _ = line.at(s)
    left = torch.stack([-heading.sin(), heading.cos()], -1)
    found_s, found_d = line.project(point + d[..., None] * left)
    assert (found_s - s).abs().max() < 0.1
    assert (found_d - d).abs().max() < 0.05


def test_a_recorded_lane_change_is_recognised():
    view = toy_view(speed=8.0)
    poses = arc(4.0 * torch.arange(17), 0.0, 0.0)[None]
    poses[0, 8:, 1] = LANE_WIDTH
    made = recorded(view, centreline(view), poses)
    assert made.behaviour.item() == LEFT
    assert made.s[0, 0, 0] == pytest.approx(-CENTRE, abs=1e-3)
