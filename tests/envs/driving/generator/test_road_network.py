"""Generated road networks: lanes that do not overlap, a lane graph without dead ends, turns that a car can take."""

import numpy as np
import pytest
import shapely

from embodia.envs.driving.generator.build_network import build
from embodia.envs.driving.generator.junctions import lane_pairs
from embodia.envs.driving.generator.road_layout import JunctionKind, Style, plan
from embodia.envs.driving.generator.road_network import RoadNetwork, Turn
from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.vehicle.bicycle import ego_boxes

STYLES = {
    "signals": Style(size=(2, 1)),
    "stops": Style(size=(2, 1), kinds=(JunctionKind.STOP, JunctionKind.YIELD)),
    "roundabout": Style(size=(1, 1), kinds=(JunctionKind.ROUNDABOUT,)),
    "winding": Style(size=(3, 1), winding=0.5, rim_curvature=1 / 60, lanes=(1, 2)),
}


@pytest.fixture(scope="module", params=sorted(STYLES))
def network(request) -> RoadNetwork:
    for attempt in range(20):
        rng = np.random.default_rng([attempt, 7])
        built = build(plan(STYLES[request.param], rng), request.param, rng)
        if built:
            return built
    raise AssertionError("no plan without overlapping roads in 20 attempts")


def test_a_point_is_in_one_lane_at_most(network):
    polygons = np.array([lane.polygon for lane in network.map.lanes])
    a, b = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    shared = shapely.area(shapely.intersection(polygons[a], polygons[b]))[a != b]
    assert shared.max() < 1e-6


def test_only_lanes_that_leave_the_map_are_dead_ends(network):
    road_map = network.map
    ends = [edge for edge in range(len(road_map.edges)) if not road_map.outgoing[edge]]
    assert ends
    for edge in ends:
        blocks_out = road_map.block_outgoing[road_map.block_of[edge]]
        assert not blocks_out, f"lane {road_map.edges[edge].id} ends, its roadblock goes on"
        assert edge < road_map.num_lanes


def test_connectors_continue_their_lanes_in_place_and_heading(network):
    lanes = {lane.id: lane for lane in network.map.lanes}
    for connector in network.map.connectors:
        before, after = lanes[connector.from_lane].baseline, lanes[connector.to_lane].baseline
        line = connector.baseline
        np.testing.assert_allclose(line.points[0], before.points[-1], atol=1e-9)
        np.testing.assert_allclose(line.points[-1], after.points[0], atol=1e-9)
        turns = np.array([line.headings[0] - before.headings[-1], after.headings[0] - line.headings[-1]])
        assert np.abs(np.angle(np.exp(1j * turns))).max() < 0.06


def test_the_ego_stays_on_the_drivable_area_along_every_lane_and_connector(network):
    area = shapely.union_all(network.map.drivable_area.polygons).buffer(0.05)
    shapely.prepare(area)
    for edge in network.map.edges:
        s = np.arange(3.0, max(edge.baseline.length - 4.5, 3.5), 1.0)
        corners = box_corners(ego_boxes(edge.baseline.pose_at(s)))
        inside = shapely.contains_xy(area, corners[..., 0], corners[..., 1])
        assert inside.all(), f"{edge.id}: a corner of the ego is off the road at {s[~inside.all(axis=1)]} m"


def test_connectors_of_signals_name_the_stop_line_they_cross(network):
    kinds = {m.connector_id: network.junctions[m.junction].kind for m in network.movements}
    for edge in range(network.map.num_lanes, len(network.map.edges)):
        connector = network.map.edges[edge]
        assert connector.has_traffic_light == (kinds[connector.id] is JunctionKind.SIGNAL)
        for line in network.map.stop_lines(edge):
            assert line.intersects(connector.baseline.line)


@pytest.mark.parametrize("lanes_in", [1, 2, 3])
@pytest.mark.parametrize(
    "lanes_out",
    [
        {Turn.LEFT: 1, Turn.STRAIGHT: 2, Turn.RIGHT: 1},
        {Turn.LEFT: 2, Turn.RIGHT: 1},
        {Turn.STRAIGHT: 1, Turn.RIGHT: 3},
        {Turn.LEFT: 1},
    ],
)
def test_every_lane_leads_somewhere_and_paths_do_not_cross(lanes_in, lanes_out):
    pairs = lane_pairs(lanes_in, lanes_out)
    assert {i for i, _, _ in pairs} == set(range(lanes_in))
    assert all(0 <= j < lanes_out[turn] for _, turn, j in pairs)
    order = {Turn.LEFT: 0, Turn.STRAIGHT: 1, Turn.RIGHT: 2}
    for i, turn, j in pairs:
        for i2, turn2, j2 in pairs:
            if i < i2:
                assert (order[turn], j) <= (order[turn2], j2) or order[turn] < order[turn2]


def test_the_same_seed_gives_the_same_network():
    first, second = (
        build(plan(Style(), rng), "x", rng) for rng in (np.random.default_rng(6), np.random.default_rng(6))
    )
    assert first is not None
    assert second is not None
    for a, b in zip(first.map.edges, second.map.edges):
        np.testing.assert_array_equal(a.baseline.points, b.baseline.points)
