"""PDM-Closed: every fast part against a slow, independent one; the rules of route, forecast, scoring and braking."""

import numpy as np
import pytest
import shapely
from scipy.signal import savgol_filter
from shapely.geometry import LineString, Point

from embodia.envs.driving.generator.build_network import build
from embodia.envs.driving.generator.road_layout import Style, plan
from embodia.envs.driving.map.geometry import box_corners, box_polygons
from embodia.envs.driving.map.segments import project
from embodia.envs.driving.types import STATE_SIZE, StateColumn, Tracks, TrafficLightStatus
from embodia.envs.driving.vehicle.bicycle import PACIFICA, ego_boxes
from embodia.planners.driving import pdm_proposals as proposals
from embodia.planners.driving import pdm_scorer as scorer
from embodia.planners.driving.corridor import INSIDE, OUTSIDE, Corridor, in_corridor
from embodia.planners.driving.pdm_areas import PolygonTable, ego_areas
from embodia.planners.driving.pdm_closed import PdmClosed
from embodia.planners.driving.pdm_forecast import forecast, nearest
from embodia.planners.driving.pdm_leaders import find_leaders
from embodia.planners.driving.pdm_route import corrected_route, dijkstra, search_blocks
from embodia.tests.planners.driving.lane_road import ROUTE, one, scene


@pytest.fixture(scope="module")
def town():
    rng = np.random.default_rng(2)
    return build(plan(Style(size=(1, 1)), rng), "town", rng).map


def random_states(rng, num, steps=41):
    states = np.zeros((num, steps, STATE_SIZE))
    turn = np.cumsum(rng.normal(0, 0.02, (num, steps)), axis=1)
    speed = np.abs(rng.normal(6, 3, (num, 1))) + np.zeros(steps)
    states[..., StateColumn.HEADING] = turn
    states[..., StateColumn.VX] = speed
    states[..., StateColumn.X] = np.cumsum(speed * np.cos(turn) * 0.1, axis=1)
    states[..., StateColumn.Y] = np.cumsum(speed * np.sin(turn) * 0.1, axis=1)
    states[..., StateColumn.AX] = rng.normal(0, 1.2, (num, steps))
    return states


# Proposals


def test_the_distance_from_the_ego_to_a_polygon_is_shapelys():
    rng = np.random.default_rng(0)
    for _ in range(300):
        pose = np.array([*rng.normal(0, 8, 2), rng.uniform(-3, 3)])
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
        ring = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.5, 9, (len(angles), 1))
        polygon = shapely.Polygon(ring)
        if not polygon.is_valid:
            continue
        expected = shapely.distance(box_polygons(ego_boxes(pose)), polygon)
        assert proposals.ego_to_ring(pose, ring, np.inf) == pytest.approx(expected, abs=1e-9)


def test_who_is_in_a_corridor_is_geos_answer_and_so_is_where():
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(400):
        heading = np.cumsum(rng.normal(0, 0.05) + np.zeros(60))
        nodes = np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]) * rng.uniform(0.3, 1.0), axis=0)
        at = nodes[rng.integers(60)] + rng.normal(0, 3, 2)
        box = np.array([*at, rng.uniform(-3, 3), rng.uniform(0.4, 6), rng.uniform(0.4, 2.5)])
        ring, s = box_corners(box), np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(nodes, axis=0).T))])
        answer = in_corridor(nodes, s, ring, *at, np.hypot(*box[3:]) / 2)
        if answer in (INSIDE, OUTSIDE):
            assert (answer == INSIDE) == Corridor(nodes, s).polygon.intersects(shapely.Polygon(ring))
        answers.append(answer)
        assert project(*at, nodes, s) == pytest.approx(LineString(nodes).project(Point(at)), abs=1e-12)
    counts = np.bincount(answers, minlength=3)
    assert counts[INSIDE] > 50
    assert counts[OUTSIDE] > 50
    assert counts[2] < 60, "plain distances should decide most cases"


def test_paths_interpolate_linearly_and_keep_repeated_nodes():
    center = np.array([[0.0, 0, 0.0], [10, 0, 0.2], [10, 0, 0.4], [10, 10, 0.6]])
    paths = proposals.Paths.along(center, (0.0,))
    np.testing.assert_allclose(proposals.path_pose(paths.s[0], paths.poses[0], 5.0), [5, 0, 0.1])
    np.testing.assert_allclose(proposals.path_pose(paths.s[0], paths.poses[0], 15.0), [10, 5, 0.5])
    np.testing.assert_allclose(proposals.path_pose(paths.s[0], paths.poses[0], 99.0), [10, 10, 0.6])


def test_the_batch_idm_has_exponent_ten_and_brakes_in_its_first_step(road):
    paths = proposals.Paths.along(road.edges[0].baseline.poses)
    rolled = proposals.start_proposals(paths, np.array([10.0, 0.0]), 5.0, 10.0)
    ahead, _ = forecast(scene(10.0, 5.0), {}, frozenset())
    corridors = [paths.corridor(k, 10.0, 90.0) for k in range(3)]
    leaders = find_leaders(ahead, paths.nodes, paths.s, corridors, range(1, 21))
    rolled = proposals.unroll(rolled, paths, leaders, np.arange(3), 40)
    np.testing.assert_allclose(rolled.v[:, 1], 5.0 - 0.3)  # no leader yet reads zeros
    v, s, target = 4.7, 10.5, 10.0
    wanted = 1.0 + v * 1.5 + v * v / (2 * np.sqrt(1.5 * 3.0))
    gap = 100 - s - PACIFICA.length / 2
    expected = v + 0.1 * 1.5 * (1 - (v / target) ** 10 - (wanted / gap) ** 2)
    assert rolled.v[4, 2] == pytest.approx(expected)
    assert np.all(np.diff(rolled.s[:, -1][:5]) >= 0), "a higher target never falls behind"


def test_proposals_stop_behind_an_object_on_their_path_only(road):
    paths = proposals.Paths.along(road.edges[0].baseline.poses)
    ahead, _ = forecast(scene(10.0, 8.0, one(40.0, y=2.2)), {}, frozenset())
    corridors = [paths.corridor(k, 10.0, 90.0) for k in range(3)]
    leaders = find_leaders(ahead, paths.nodes, paths.s, corridors, range(1, 21))
    start = proposals.start_proposals(paths, np.array([10.0, 0.0]), 8.0, 10.0)
    rolled = proposals.unroll(start, paths, leaders, np.arange(3), 40)
    fastest = rolled.s[[4, 9, 14], -1]
    assert fastest[2] < fastest[0] - 5, "the left path is blocked"
    assert fastest[1] == pytest.approx(fastest[0])


# Forecast


def test_the_forecast_shifts_along_the_heading_even_backwards():
    tracks = one(20.0, v=-2.0)
    ahead, _ = forecast(scene(0.0, 5.0, tracks), {}, frozenset())
    np.testing.assert_allclose(ahead.velocity[0], [-2.0, 0.0], atol=1e-12)


def test_the_nearest_of_each_kind_within_fifty_metres():
    x = np.linspace(1, 60, 80)
    boxes = np.column_stack([x, np.zeros(80), np.zeros(80), np.ones(80), np.ones(80)])
    crowd = Tracks(tuple(map(str, range(80))), np.full(80, 1, np.int8), boxes, np.zeros((80, 2)))
    kept = nearest(crowd, np.zeros(2), frozenset({"0"}))
    assert kept.tokens == tuple(map(str, range(1, 26)))


def test_what_touches_the_ego_is_ignored_ever_after():
    ahead, collided = forecast(scene(20.0, 5.0, one(22.0)), {}, frozenset())
    assert collided == {"a"}
    assert ahead.known.tolist() == [True]
    gone, _ = forecast(scene(20.0, 5.0, one(40.0)), {}, collided)
    assert gone.tokens == ()


def test_a_red_light_counts_as_passed_only_when_the_ego_is_fully_inside(road):
    light = {"3": road.edges[road.connector_index["3"]].polygon.buffer(1.0)}
    _, entering = forecast(scene(100.0, 5.0), light, frozenset())
    _, inside = forecast(scene(110.0, 5.0), light, frozenset())
    assert entering == frozenset()
    assert inside == {"red_light_3"}


# Scores


def test_first_contacts_are_those_of_the_polygons():
    rng = np.random.default_rng(4)
    states = random_states(rng, 6)
    n = 25
    boxes = np.column_stack(
        [rng.uniform(-5, 35, n), rng.normal(0, 6, n), rng.uniform(-3, 3, n), np.full((n, 2), (4, 2))]
    )
    velocity = rng.normal(0, 3, (n, 2))
    egos = ego_boxes(states)
    first = scorer.first_contacts(egos, boxes, velocity)
    for p in range(6):
        polygons = box_polygons(egos[p])
        for j in range(n):
            shifted = np.repeat(boxes[j][None], 41, axis=0)
            shifted[:, :2] += velocity[j] * (np.arange(41) // 2 * 0.2)[:, None]
            hits = np.flatnonzero(shapely.intersects(polygons, box_polygons(shifted)))
            assert first[p, j] == (hits[0] if len(hits) else -1)


def test_the_first_conflict_looks_nine_tenths_of_a_second_ahead():
    states = random_states(np.random.default_rng(1), 1)
    states[..., StateColumn.Y] = states[..., StateColumn.HEADING] = 0.0
    states[..., StateColumn.VX] = 10.0
    states[..., StateColumn.X] = np.arange(41)
    box = np.array([[40.0, 0.0, 0.0, 4.0, 2.0]])
    first = scorer.first_conflicts(ego_boxes(states), states[..., StateColumn.VX], box, np.zeros((1, 2)))
    front = np.arange(41) + PACIFICA.front_length
    expected = int(np.argmax(front + 9.0 >= 38.0))
    assert first[0, 0].tolist() == [expected, 9]


def test_polygon_table_agrees_with_shapely(town):
    rng = np.random.default_rng(0)
    table = PolygonTable.of(town)
    low, high = np.array(town.lane_layer.tree.geometries[0].bounds).reshape(2, 2)
    center = (low + high) / 2
    points = center + rng.normal(0, 40, (2000, 2))
    edges = np.arange(len(town.edges))
    inside = table.inside(points, edges)
    for edge in edges:
        expected = shapely.contains_xy(town.edges[edge].polygon, points[:, 0], points[:, 1])
        np.testing.assert_array_equal(inside[:, edge], expected)
    assert inside.any()


def test_areas_follow_their_definitions(town):
    rng = np.random.default_rng(3)
    lane = town.edges[0]
    states = np.zeros((4, 41, STATE_SIZE))
    poses = lane.baseline.pose_at(np.linspace(10, 50, 41))
    for p, offset in enumerate((0.0, 0.9, 2.2, -4.0)):
        states[p, :, :3] = poses
        side = poses[:, 2] + np.pi / 2
        states[p, :, :2] += offset * np.column_stack([np.cos(side), np.sin(side)]) + rng.normal(0, 1e-3, (41, 2))
    boxes = ego_boxes(states)
    drivable, route = set(range(len(town.edges))), {0}
    areas = ego_areas(boxes, PolygonTable.of(town), drivable, [], route)
    polygons = [edge.polygon for edge in town.edges]
    for p in range(4):
        for k in range(0, 41, 8):
            corners = [Point(c) for c in box_corners(boxes[p, k])]
            inside = np.array([[polygon.contains(c) for c in corners] for polygon in polygons])
            assert areas.nondrivable[p, k] == (not inside.any(axis=0).all())
            several = inside.any(axis=1).sum() > 1 and not inside.all(axis=1).any()
            assert areas.multiple_lanes[p, k] == several
            assert areas.oncoming[p, k] == (not lane.polygon.contains(Point(boxes[p, k, :2])))


def test_comfort_filters_are_savitzky_golays():
    states = random_states(np.random.default_rng(9), 5)
    ax = states[..., StateColumn.AX]
    smoothed = ax @ scorer.savgol_matrix(41, 8, 2, 0)
    np.testing.assert_allclose(smoothed, savgol_filter(ax, 8, 2, axis=-1), atol=1e-12)
    gentle = states.copy()
    gentle[..., StateColumn.AX], gentle[..., StateColumn.HEADING] = 0.5, 0.0
    harsh = gentle.copy()
    harsh[..., StateColumn.AX] = 2.5
    assert scorer.comfortable(gentle).all()
    assert not scorer.comfortable(harsh).any()


@pytest.mark.parametrize(("metres", "expected"), [(1.9, 1.0), (3.0, 0.5), (6.5, 0.0)])
def test_driving_direction_counts_the_longest_stretch(metres, expected):
    centers = np.zeros((1, 41, 2))
    centers[0, :, 0] = np.arange(41) * 0.1
    centers *= metres / 1.0
    oncoming = np.zeros((1, 41), bool)
    oncoming[0, 5:15] = True  # ten steps of a tenth of `metres`
    oncoming[0, 20:22] = True
    assert scorer.driving_direction(centers, oncoming)[0] == expected


def test_progress_is_relative_to_the_best_and_one_where_nobody_moves():
    np.testing.assert_allclose(scorer.normalised_progress(np.array([1.0, 4.0]), np.ones(2)), [0.25, 1.0])
    np.testing.assert_allclose(scorer.normalised_progress(np.array([0.0, 0.05]), np.array([1.0, 0.0])), [1.0, 0.0])


# Route


def test_dijkstra_takes_the_cheapest_and_else_the_deepest():
    graph = {0: [1, 2], 1: [3], 2: [3], 3: [4], 4: []}
    cost = {0: 1.0, 1: 5.0, 2: 1.0, 3: 1.0, 4: 1.0}
    assert dijkstra(graph.__getitem__, cost.__getitem__, 0, lambda e: e == 3) == [0, 2, 3]
    assert dijkstra(graph.__getitem__, cost.__getitem__, 0, lambda e: e == 9) == [0, 2, 3, 4]


def test_block_search_stops_at_its_depth():
    graph = [[1], [2], [3], []]
    assert search_blocks(graph, 0, [3], 4) == ([0, 1, 2, 3], True)
    assert search_blocks(graph, 0, [3], 3)[1] is False


def test_a_route_with_a_gap_is_filled_and_one_behind_the_ego_is_reached(road):
    blocks = {i: road.block(i) for i in ROUTE}
    ego = scene(20.0, 5.0).ego
    assert corrected_route(road, [blocks["10"], blocks["11"]], ego) == [blocks[i] for i in ROUTE]
    assert corrected_route(road, [blocks["11"]], ego) == [blocks[i] for i in ROUTE]


# The whole planner


def test_a_free_road_is_driven_at_full_speed_on_the_centreline(road):
    planner = PdmClosed()
    trajectory, carry = planner.plan(scene(20.0, 9.0), planner.initial(ROUTE, None, road))
    assert len(trajectory.time_us) == 81
    np.testing.assert_allclose(trajectory.poses[:, 1], 0.0, atol=1e-9)
    assert trajectory.poses[-1, 0] > 20 + 70
    again, _ = planner.plan(scene(20.0, 9.0), carry)
    np.testing.assert_array_equal(again.poses, trajectory.poses)


def test_red_lights_and_stopped_cars_stop_it(road):
    planner = PdmClosed()
    carry = planner.initial(ROUTE, None, road)
    red, _ = planner.plan(scene(70.0, 8.0, lights={"3": TrafficLightStatus.RED}), carry)
    blocked, _ = planner.plan(scene(50.0, 8.0, one(80.0)), carry)
    assert red.poses[-1, 0] + PACIFICA.front_length < 100.5
    assert blocked.poses[-1, 0] + PACIFICA.front_length < 78.5


def test_it_brakes_when_a_collision_is_near_and_the_ego_slow(road):
    planner = PdmClosed()
    slow = scene(50.0, 4.0, one(50.0 + 4.049 - 1.461 + 2.0 + 0.6))
    trajectory, _ = planner.plan(slow, planner.initial(ROUTE, None, road))
    speed = np.diff(trajectory.poses[:, 0]) / 0.1
    np.testing.assert_allclose(speed, 1.1 * (4.0 - 4.05), atol=1e-9)


def test_the_corridor_of_a_path_is_made_of_its_whole_nodes():
    paths = proposals.Paths.along(np.column_stack([np.arange(20.0), np.zeros(20), np.zeros(20)]), (0.0,))
    corridor = paths.corridor(0, 2.5, 8.5).polygon
    half = PACIFICA.width / 2
    assert corridor.bounds == pytest.approx((3 - half, -half, 8 + half, half))
    assert corridor.equals(LineString([(3, 0), (8, 0)]).buffer(half, cap_style="square"))
