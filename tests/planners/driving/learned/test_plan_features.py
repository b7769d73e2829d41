"""Features of trajectories: collisions, headway, lanes, lights; compiled and differentiable object costs agree."""

import pytest
import torch

from embodia.planners.driving.learned.centreline import centreline
from embodia.planners.driving.learned.object_costs import differentiable, object_costs, touches
from embodia.planners.driving.learned.plan_features import (
    FEATURES,
    JUDGED,
    LANE_BEHIND,
    LANE_GRID_STEP,
    features,
    ground,
    read,
    time_weights,
)
from embodia.planners.driving.learned.trajectory_sampler import ACCELERATIONS, SamplerConfig, sample
from embodia.tests.planners.driving.learned.toy_views import toy_view

STEADY, BRAKING = ACCELERATIONS.index(0.0), 0


def features_of(view, row=STEADY):
    line = centreline(view)
    found = features(view, ground(view, line), sample(view, line, SamplerConfig((0.0,), curvatures=())))
    return dict(zip(FEATURES, found[0, row].tolist()))


def test_driving_on_at_the_limit_in_the_lane_costs_nothing():
    assert features_of(toy_view(speed=10.0)) == pytest.approx(dict.fromkeys(FEATURES, 0.0), abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "feature"),
    [
        ({"objects": ((15.0, 0.0, 0.0, 0.0, 0.0),)}, "collision"),
        ({"objects": ((-8.0, 0.0, 0.0, 15.0, 0.0),)}, "collision from behind"),
        ({"objects": ((15.0, 2.8, 0.0, 0.0, 0.0),)}, "nearness"),
        ({"objects": ((15.0, 0.0, 0.0, 10.0, 0.0),)}, "headway"),
        ({"speed": 5.0}, "progress"),
        ({"speed": 13.0}, "speeding"),
        ({"red": 20.0}, "red light"),
        ({"lanes": (5.0,)}, "off the lanes"),
    ],
)
def test_each_feature_finds_its_fault(changed, feature):
    found = features_of(toy_view(**{"speed": 10.0, **changed}))
    assert found[feature] > 0.05
    others = {"collision", "headway", "red light", "speeding", "off the lanes"} - {feature}
    if feature not in ("collision", "headway"):
        assert all(found[name] < 1e-3 for name in others)


def test_braking_avoids_the_collision_and_the_light():
    assert features_of(toy_view(speed=10.0, objects=((22.0, 0.0, 0.0, 0.0, 0.0),)), BRAKING)["collision"] == 0
    assert features_of(toy_view(speed=10.0, red=18.0), BRAKING)["red light"] == 0


def test_a_light_that_is_behind_does_not_count():
    assert features_of(toy_view(speed=10.0, red=1.0))["red light"] == 0


def test_object_costs_are_the_same_with_and_without_gradients():
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(12, 5, generator=generator) * torch.tensor([60.0, 16.0, 6.3, 20.0, 6.0])
    objects = tuple((row - torch.tensor([15.0, 8.0, 0.0, 10.0, 3.0])).tolist() for row in draw)
    view = toy_view(speed=8.0, objects=(*objects, (-8.0, 0.0, 0.0, 15.0, 0.0)))
    line = centreline(view)
    around, samples = ground(view, line), sample(view, line)
    given = samples.poses[:, :, 1 : JUDGED + 1], samples.speed[:, :, 1 : JUDGED + 1], time_weights(samples)
    fast, slow = object_costs(around.objects, *given), differentiable(around.objects, *given)
    assert (slow.amax((0, 1)) > 0).all(), "every cost occurs"
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)
    assert (touches(around.objects, given[0]).any(-1) <= (slow[..., :2].sum(-1) > 0)).all()


def test_fields_are_read_bilinearly():
    field = torch.zeros(1, 1, 40, 24)
    field[0, 0, 10, 5], field[0, 0, 11, 5] = 1.0, 3.0
    x, y = 10 * LANE_GRID_STEP - LANE_BEHIND, (5 - 11.5) * LANE_GRID_STEP
    points = torch.tensor([[[x, y], [x + 0.5, y], [x, y + 1.5], [x + 1.0, y + 1.0], [-1000.0, 0.0]]])
    found = read(field, points, LANE_GRID_STEP, LANE_BEHIND)[0, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 1.5, 0.25, 1.0, 0.0]), atol=1e-5, rtol=0)
