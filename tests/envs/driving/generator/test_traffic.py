"""Generated drivers: the car-following and lane-change laws, signals that never let crossing traffic go together."""

import numpy as np
import pytest

from embodia.envs.driving.generator.build_network import build
from embodia.envs.driving.generator.driver import (
    find_leads,
    idm_acceleration,
    mobil_gain,
    path_point,
    path_poses,
    smoother_step,
    speed_envelope,
)
from embodia.envs.driving.generator.fleet import Demand
from embodia.envs.driving.generator.right_of_way import RightOfWay
from embodia.envs.driving.generator.road_layout import JunctionKind, Style, plan
from embodia.envs.driving.generator.signals import draw_signals
from embodia.envs.driving.generator.traffic import Traffic
from embodia.envs.driving.map.geometry import boxes_intersect, shifted_boxes
from embodia.envs.driving.types import TrafficLightStatus

NO_OFFSET = np.array([0.0, 0.0, 1.0])


def straight_path(length=300):
    x = np.arange(length, dtype=float)
    return np.column_stack([x, np.zeros(length), np.zeros(length)])


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(12)
    return build(plan(Style(size=(1, 1), lanes=(2,), drop_arm=0.0), rng), "cross", rng)


def test_idm_reaches_its_equilibrium_gap_behind_a_steady_leader():
    """Treiber et al. 2000, eq. 7: the gap at which the acceleration vanishes at equal speeds."""
    v, desired, headway = 8.0, 12.0, 1.4
    gap = (2.0 + v * headway) / np.sqrt(1 - (v / desired) ** 4)
    assert idm_acceleration(v, desired, gap, v, headway, 1.5, 2.0) == pytest.approx(0.0, abs=1e-12)
    assert idm_acceleration(v, desired, gap - 1, v, headway, 1.5, 2.0) < 0
    assert idm_acceleration(v, desired, gap + 1, v, headway, 1.5, 2.0) > 0


def test_the_speed_envelope_takes_bends_at_the_lateral_limit_and_brakes_in_time():
    curvature = np.zeros(200)
    curvature[120:140] = 1 / 20
    speed = speed_envelope(np.full(200, 14.0), curvature, lateral=2.0, brake=1.5)
    assert speed[130] == pytest.approx(np.sqrt(2.0 * 20))
    assert speed[0] == 14.0
    braking = (speed[:-1] ** 2 - speed[1:] ** 2) / 2
    assert braking.max() <= 1.5 + 1e-9


def test_mobil_refuses_what_endangers_the_follower_and_weighs_politely():
    assert mobil_gain(-1.0, 1.0, 0.0, -2.0) == -np.inf
    assert mobil_gain(-1.0, 0.5, 0.0, 0.0) == pytest.approx(1.5 - 0.15)
    assert mobil_gain(-1.0, 0.5, 0.0, -1.0) == pytest.approx(1.5 - 0.2 - 0.15)


def test_a_lane_change_is_smooth_and_ends_on_the_path():
    path, offset = straight_path(), np.array([3.6, 50.0, 40.0])
    poses = np.array([path_point(path, s, offset) for s in np.linspace(40, 100, 601)])
    assert poses[0, 1] == pytest.approx(3.6)
    assert poses[-1, 1] == pytest.approx(0.0)
    slope = np.gradient(poses[:, 1], poses[:, 0])
    np.testing.assert_allclose(np.tan(poses[2:-2, 2]), slope[2:-2], atol=2e-3)
    assert smoother_step(0.5) == 0.5


def test_a_driver_sees_the_first_box_in_the_sweep_of_its_bumper():
    paths, rows = straight_path()[None], np.array([0])
    boxes = np.array([[10.0, 0, 0, 4.6, 1.9], [40.0, 1.6, 0, 4.0, 2.0], [30.0, 3.2, 0, 4.0, 2.0]])
    sizes = np.array([3.0]), np.array([1.9])
    gap, lead = find_leads(paths, rows, np.array([9.0]), NO_OFFSET[None], *sizes, np.array([60.0]), boxes)
    assert lead[0] == 1
    assert gap[0] == pytest.approx(40 - 2 - 12, abs=0.05)
    gap, lead = find_leads(paths, rows, np.array([9.0]), NO_OFFSET[None], *sizes, np.array([20.0]), boxes)
    assert lead[0] == -1
    assert gap[0] == np.inf


def test_crossing_connectors_are_never_green_together(network):
    signals = draw_signals(network, np.random.default_rng(3))
    conflicts = RightOfWay(network).conflicts
    edges = [network.map.connector_index[i] for i in signals.connector_ids]
    assert any(conflicts[e] for e in edges)
    turns = {network.map.connector_index[m.connector_id]: m for m in network.movements}
    for time in np.arange(0, signals.cycle.max(), 0.5):
        going = signals.status(time) != TrafficLightStatus.RED
        moving = [e for e, on in zip(edges, going) if on]
        for e in moving:
            crossing = [o for o in moving if o in conflicts[e] and not merges(network.map, e, o)]
            assert not crossing, f"{turns[e].turn} and {[turns[o].turn for o in crossing]} at {time:.1f} s"


def merges(road_map, a, b):
    """Two connectors into one lane are sorted out by right of way, not by the signal."""
    return road_map.edges[a].to_lane == road_map.edges[b].to_lane


@pytest.mark.parametrize("kind", [JunctionKind.SIGNAL, JunctionKind.STOP, JunctionKind.YIELD])
def test_traffic_flows_through_junctions_without_touching(kind):
    rng = np.random.default_rng(8)
    town = build(plan(Style(size=(1, 1), kinds=(kind,), lanes=(1, 2)), rng), "t", rng)
    world = Traffic(town, Demand(gap=(20.0, 60.0)), rng)
    crossed = set()
    for _ in range(250):
        frame = world.step()
        values = {k: v[frame.drivers] for k, v in world.fleet.values.items()}
        boxes = shifted_boxes(frame.poses, values["forward"], values["length"], values["width"])
        a, b = np.triu_indices(len(boxes), 1)
        assert not boxes_intersect(boxes[a], boxes[b]).any()
        crossed |= set(frame.drivers[frame.edges >= town.map.num_lanes].tolist())
    assert len(crossed) >= 4
    assert np.all(world.fleet.values["v"] >= 0)


def test_poses_lie_on_their_paths():
    paths = np.stack([straight_path(), straight_path()])
    paths[1, :, 1] = 5.0
    poses = path_poses(paths, np.array([1, 0]), np.array([2.5, 7.0]), np.stack([NO_OFFSET] * 2))
    np.testing.assert_allclose(poses, [[2.5, 5.0, 0.0], [7.0, 0.0, 0.0]])
