"""nuPlan's files: what is written is read back, filters choose, and damage is named."""

import shutil
import sqlite3
import warnings

import numpy as np
import pytest
import shapely

from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.map.road_map import Map, PolygonLayer
from embodia.envs.driving.nuplan.logs import (
    MINED_TYPES,
    VAL14_TYPES,
    NuPlanDataError,
    NuPlanLog,
    ScenarioFilter,
    find_logs,
    find_scenarios,
    load_scenarios,
)
from embodia.envs.driving.nuplan.maps import load_map, map_path, read_map
from embodia.envs.driving.nuplan.source import LogScenarios
from embodia.envs.driving.nuplan.utm import to_lon_lat, to_utm
from embodia.envs.driving.nuplan.write import write_log, write_map, write_maps_root
from embodia.envs.driving.scenarios.pack import map_from_records, map_to_records
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.types import TrackedObjectType, TrafficLightStatus
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road

NUM = 151
ORIGIN = np.array([664_000.0, 3_997_000.0])  # [m] in Las Vegas


def moved_map(road_map, offset):
    """The same map elsewhere."""
    records, arrays = map_to_records(road_map)
    for name, array in arrays.items():
        if name in ("baseline", "left_boundary", "right_boundary"):
            arrays[name] = array + offset
    moved = map_from_records(records, arrays)

    def shift(geometry):
        return shapely.transform(geometry, lambda points: points + offset)

    for edge in moved.edges:
        object.__setattr__(edge, "polygon", shift(edge.polygon))
    for block in moved.blocks:
        object.__setattr__(block, "polygon", shift(block.polygon))
    moved.road_segments = PolygonLayer(moved.road_segments.ids, shift(moved.road_segments.polygons))
    return moved


@pytest.fixture(scope="module")
def vegas():
    road = moved_map(synthetic_road(), ORIGIN)
    stop = shapely.box(118, -3.5, 119, 0)
    road.stop_polygons = PolygonLayer(["30"], [shapely.transform(stop, lambda p: p + ORIGIN)])
    road.stop_polygon_types = [2]
    return Map(
        "us-nv-las-vegas-strip",
        road.lanes, road.connectors, road.roadblocks, road.roadblock_connectors, road.intersections, road.crosswalks,
        road.stop_polygons, road.stop_polygon_types, road.walkways, road.carparks, road.road_segments,
        road.generic_drivable_areas,
    )  # fmt: skip


def make_scenario(vegas, number=0, kind="following_lane_with_lead"):
    ego = ego_history(10, speed=5.0, num=NUM + 80)
    ego[:, :2] += ORIGIN
    frames = []
    for k in range(NUM):
        tracks = [car("0" * 15 + "1", ORIGIN[0] + 40 + 0.5 * k, ORIGIN[1] - 1.75, 0.01, (5.0, 0.1))]
        if k > 50:
            cone = {"size": (0.4, 0.5), "kind": TrackedObjectType.TRAFFIC_CONE}
            tracks.append(car("0" * 15 + "2", ORIGIN[0] + 90, ORIGIN[1] + 3, **cone))
        frames.append(join(*tracks))
    lights = [{"7": TrafficLightStatus.RED if k < 40 else TrafficLightStatus.GREEN} for k in range(NUM)]
    short = scenario_on(vegas, ego[:NUM], frames, lights, token=f"{number:016x}")
    goal = (ORIGIN[0] + 380, ORIGIN[1] - 1.75, 0.1)
    times = short.time_us[0] + 100_000 * np.arange(short.start + len(ego)) + number * 60_000_000
    return Scenario(
        short.token, "log", kind, vegas, times, np.concatenate([short.ego[: short.start], ego]), short.start, NUM,
        short.tracks, short.lights, short.route, goal,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory, vegas):
    """A data root with one log of three scenarios, and a maps root."""
    root = tmp_path_factory.mktemp("nuplan")
    folder = root / "nuplan-v1.1" / "splits" / "mini"
    folder.mkdir(parents=True)
    kinds = ["following_lane_with_lead", "stopping_with_lead", "following_lane_with_lead"]
    scenarios = [make_scenario(vegas, i + 10, kind) for i, kind in enumerate(kinds)]
    write_log(folder / "log.db", scenarios)
    write_maps_root(root / "maps", [vegas])
    return root, scenarios


def test_utm_both_ways():
    corners = np.array([[103.8, 1.3], [105.9, -79.0], [107.9, 83.0]])
    for epsg in (32648, 32748):
        np.testing.assert_allclose(to_lon_lat(to_utm(corners, epsg), epsg), corners, atol=1e-11)
    np.testing.assert_allclose(to_utm(np.array([105.0, 0.0]), 32648), [500_000, 0], atol=1e-9)
    with pytest.raises(ValueError, match="3857"):
        to_utm(corners, 3857)


def test_utm_against_pyproj():
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(0)
    for epsg, lon, lat in ((32648, 103.8, 1.3), (32619, -71.0, 42.3), (32611, -115.2, 36.1), (32617, -79.9, 40.4)):
        points = np.array([lon, lat]) + rng.uniform(-1, 1, (200, 2))
        expected = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(*points.T)
        np.testing.assert_allclose(to_utm(points, epsg), np.stack(expected, axis=1), atol=1e-7)


def test_map_round_trip(tmp_path, vegas):
    write_map(tmp_path / "map.gpkg", vegas)
    loaded = read_map(tmp_path / "map.gpkg", vegas.name)
    assert loaded.outgoing == vegas.outgoing
    assert loaded.block_edges == vegas.block_edges
    assert loaded.stop_polygon_types == [2]
    for before, after in zip(vegas.edges, loaded.edges, strict=True):
        assert (before.id, before.speed_limit, before.roadblock_id, before.from_lane) == (
            after.id, after.speed_limit, after.roadblock_id, after.from_lane,
        )  # fmt: skip
        assert before.polygon.equals_exact(after.polygon, 1e-6)
        np.testing.assert_allclose(before.baseline.points, after.baseline.points, atol=1e-6)
        np.testing.assert_allclose(before.right_boundary.points, after.right_boundary.points, atol=1e-6)


def test_log_round_trip(data):
    root, scenarios = data
    tags = find_scenarios(find_logs("mini", root))
    assert [t.token for t in tags] == [scenarios[i].token for i in (0, 2, 1)], "grouped by type"
    for tag, written in zip(tags, (scenarios[0], scenarios[2], scenarios[1]), strict=True):
        (loaded,) = load_scenarios([tag], root / "maps")
        assert (loaded.token, loaded.type, loaded.log_name) == (written.token, written.type, "log")
        assert (loaded.start, loaded.num_iterations, loaded.route) == (21, NUM, written.route)
        np.testing.assert_array_equal(loaded.time_us, written.time_us)
        np.testing.assert_allclose(loaded.ego, written.ego, atol=1e-9)
        np.testing.assert_allclose(loaded.goal, written.goal, atol=1e-9)
        for iteration in (-21, 0, 50, 51, 150):
            before, after = written.tracks_at(iteration), loaded.tracks_at(iteration)
            assert before.tokens == after.tokens
            np.testing.assert_array_equal(before.types, after.types)
            np.testing.assert_allclose(before.boxes, after.boxes, atol=1e-9)
            np.testing.assert_allclose(before.velocities, after.velocities, atol=1e-9)
            assert written.lights_at(iteration) == loaded.lights_at(iteration)


def test_filters(data):
    root, scenarios = data
    logs = find_logs("mini", root)
    tokens = {s.token for s in scenarios}

    def found(**kwargs):
        return {t.token for t in find_scenarios(logs, ScenarioFilter(**kwargs))}

    assert found() == tokens
    assert found(scenario_types=["stopping_with_lead"]) == {scenarios[1].token}
    assert found(scenario_tokens=[scenarios[2].token]) == {scenarios[2].token}
    assert found(log_names=["another"]) == set()
    assert found(map_names=["us-ma-boston"]) == set()
    assert found(num_scenarios_per_type=1) == {scenarios[0].token, scenarios[1].token}
    assert len(found(limit_total_scenarios=2, shuffle_seed=3)) == 2
    assert found(timestamp_threshold_s=200) == {scenarios[0].token, scenarios[1].token}
    assert set(VAL14_TYPES) <= set(MINED_TYPES)
    assert len(MINED_TYPES) == 73


def test_a_frame_without_a_tag_can_be_named(data):
    """Such a scenario runs 20 s from its frame on; here the log ends after 15 + 8 s."""
    root, _ = data
    (log,) = find_logs("mini", root)
    connection = sqlite3.connect(log)
    row = connection.execute("SELECT lidar_pc_token FROM scenario_tag ORDER BY rowid LIMIT 1").fetchone()
    before = connection.execute(
        "SELECT token FROM lidar_pc WHERE timestamp < (SELECT timestamp FROM lidar_pc WHERE token = ?) "
        "ORDER BY timestamp DESC LIMIT 1", row,
    ).fetchone()[0]  # fmt: skip
    (tag,) = NuPlanLog(log).tags(ScenarioFilter(scenario_tokens=[before.hex()]))
    assert tag.type == "unknown"
    (scenario,) = load_scenarios([tag], root / "maps")
    assert scenario.time_us[scenario.start] == tag.time_us


def test_folders_and_variables(data, monkeypatch, tmp_path):
    root, scenarios = data
    monkeypatch.setenv("NUPLAN_DATA_ROOT", str(root))
    monkeypatch.setenv("NUPLAN_MAPS_ROOT", str(root / "maps"))
    assert [p.name for p in find_logs("mini")] == ["log.db"]
    assert find_logs("mini", names=["x"]) == []
    assert load_map("us-nv-las-vegas-strip").outgoing == scenarios[0].map.outgoing
    with pytest.raises(FileNotFoundError, match="NUPLAN_DATA_ROOT"):
        find_logs("test")
    with pytest.raises(NuPlanDataError, match="us-ma-boston"):
        map_path("us-ma-boston")
    monkeypatch.delenv("NUPLAN_MAPS_ROOT")
    with pytest.raises(FileNotFoundError, match="NUPLAN_MAPS_ROOT"):
        load_map("us-pa-pittsburgh-hazelwood")


def damaged_copy(data, tmp_path, sql):
    (log,) = find_logs("mini", data[0])
    path = tmp_path / "damaged.db"
    shutil.copy(log, path)
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()
    return path


def test_a_truncated_log_names_the_file(data, tmp_path):
    (log,) = find_logs("mini", data[0])
    content = log.read_bytes()
    path = tmp_path / "short.db"
    for share in (0.0, 0.02, 0.5, 0.98):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(NuPlanDataError, match=r"short\.db"):
            list(load_scenarios(find_scenarios([path]), data[0] / "maps"))


def test_a_foreign_file_is_refused(data, tmp_path):
    path = tmp_path / "foreign.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(NuPlanDataError, match=r"foreign\.db"):
        NuPlanLog(path)
    with pytest.raises(NuPlanDataError, match="table log is missing"):
        NuPlanLog(damaged_copy(data, tmp_path, "DROP TABLE log"))
    with pytest.raises(NuPlanDataError, match="table scene lacks column roadblock_ids"):
        NuPlanLog(damaged_copy(data, tmp_path, "ALTER TABLE scene RENAME COLUMN roadblock_ids TO route"))
    with pytest.raises(FileNotFoundError):
        NuPlanLog(tmp_path / "nothing.db")


def test_rows_that_do_not_fit_are_named(data, tmp_path):
    maps = data[0] / "maps"
    path = damaged_copy(data, tmp_path, "DELETE FROM ego_pose")
    with pytest.raises(NuPlanDataError, match="table ego_pose"):
        list(load_scenarios(find_scenarios([path]), maps))
    path = damaged_copy(data, tmp_path, "UPDATE category SET name = 'spaceship' WHERE name = 'vehicle'")
    with pytest.raises(NuPlanDataError, match="spaceship"):
        list(load_scenarios(find_scenarios([path]), maps))


WINDOW = "(SELECT timestamp FROM lidar_pc WHERE token = (SELECT lidar_pc_token FROM scenario_tag ORDER BY rowid))"


def first(path, data):
    tags = sorted(find_scenarios([path]), key=lambda tag: tag.time_us)
    return next(load_scenarios(tags, data[0] / "maps"))


def test_gaps_between_sweeps_are_warned_of_or_refused(data, tmp_path):
    cut = "DELETE FROM lidar_pc WHERE timestamp - {} BETWEEN 10000 AND {}"
    with pytest.warns(
        UserWarning, match=r"damaged\.db: scenario 0{14}0a: table lidar_pc: 1 gaps between sweeps; .* 0\.20 s"
    ):
        first(damaged_copy(data, tmp_path, cut.format(WINDOW, 110_000)), data)
    with pytest.raises(NuPlanDataError, match=r"damaged\.db: scenario 0{14}0a: table lidar_pc: no sweep for 0\.80 s"):
        first(damaged_copy(data, tmp_path, cut.format(WINDOW, 710_000)), data)


def test_objects_without_a_velocity_are_warned_of_and_without_a_place_refused(data, tmp_path):
    some = "WHERE rowid IN (SELECT rowid FROM lidar_box WHERE vx IS NOT NULL LIMIT 3)"
    path = damaged_copy(data, tmp_path, f"UPDATE lidar_box SET vx = NULL {some}")
    with pytest.warns(UserWarning, match=r"scenario 0{14}0a: table lidar_box: 3 boxes of agents have no velocity"):
        scenario = first(path, data)
    env = DrivingVectorEnv(1, [scenario], rules="nuplan", reactive=True)
    obs, _ = env.reset(seed=0)
    obs, *_ = env.step(np.zeros((1, 2), np.float32))
    assert all(np.isfinite(value).all() for value in obs.values())
    path = damaged_copy(data, tmp_path, f"UPDATE lidar_box SET yaw = 'east' {some}")
    with pytest.raises(NuPlanDataError, match="table lidar_box, column yaw: a finite number is expected, not 'east'"):
        first(path, data)


def test_scenarios_without_a_route_are_skipped_with_log_and_token(data, tmp_path):
    one = "WHERE name = (SELECT name FROM scene WHERE roadblock_ids IS NOT NULL ORDER BY name LIMIT 1)"
    path = damaged_copy(data, tmp_path, f"UPDATE scene SET roadblock_ids = '' {one}")
    with pytest.warns(UserWarning, match=r"skipped 1 scenarios without a route .*: 0{14}0a of damaged\.db"):
        scenarios = LogScenarios(path, data[0] / "maps")
    assert [tag.token for tag in scenarios.tags] == [f"{number:016x}" for number in (12, 11)]
    path = damaged_copy(data, tmp_path, "UPDATE scene SET roadblock_ids = '777 778'")
    with pytest.raises(NuPlanDataError, match=r"none of the route's roadblocks \(777 778 ...\) is on map us-nv"):
        LogScenarios(path, data[0] / "maps")[0]


def test_tokens_may_be_listed_in_a_file(data, tmp_path):
    (tmp_path / "benchmark.yaml").write_text(f"scenario_tokens:\n  - '{data[1][1].token}'\n  - 'ffffffffffffffff'\n")
    found = LogScenarios(data[0], chosen=ScenarioFilter(scenario_tokens=[str(tmp_path / "benchmark.yaml")]))
    assert [scenario.token for scenario in found] == [data[1][1].token]
    with pytest.raises(NuPlanDataError, match="nothing is neither a scenario token"):
        LogScenarios(data[0], chosen=ScenarioFilter(scenario_tokens=["nothing"]))
    assert {tag.type for tag in LogScenarios(data[0], chosen=ScenarioFilter(scenario_types=["val14"])).tags} == {
        "following_lane_with_lead",
        "stopping_with_lead",
    }


def test_a_scene_without_a_route_gives_none(data, tmp_path):
    path = damaged_copy(data, tmp_path, "UPDATE scene SET roadblock_ids = NULL, goal_ego_pose_token = NULL")
    scenario = next(load_scenarios(find_scenarios([path]), data[0] / "maps"))
    assert scenario.route == ()
    assert scenario.goal is None
    assert find_scenarios([path], ScenarioFilter(remove_invalid_goals=True)) == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE baseline_paths", "layer baseline_paths is missing"),
        ("ALTER TABLE lanes_polygons RENAME COLUMN lane_index TO n", "layer lanes_polygons lacks column lane_index"),
        ("UPDATE intersections SET geom = NULL; UPDATE crosswalks SET geom = NULL; UPDATE boundaries SET geom = x'00'",
         "layer boundaries, fid 1: not a GeoPackage geometry"),
        ("DELETE FROM baseline_paths WHERE lane_fid = 2", "no row with lane_fid 2"),
        ("DELETE FROM meta", "projectedCoordSystem"),
        ("DROP TABLE meta", "no such table: meta"),
        ("UPDATE meta SET value = 'epsg:3857' WHERE key = 'projectedCoordSystem'", "projectedCoordSystem"),
        ("UPDATE lanes_polygons SET lane_group_fid = 'x' WHERE fid = 2",
         "layer lanes_polygons, fid 2: column lane_group_fid: an id is expected, not 'x'"),
        ("UPDATE lanes_polygons SET lane_index = NULL WHERE fid = 2", "layer lanes_polygons, fid 2"),
    ],
)  # fmt: skip
def test_a_damaged_map_names_layer_and_row(tmp_path, vegas, sql, message):
    path = tmp_path / "map.gpkg"
    write_map(path, vegas)
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()
    with pytest.raises(NuPlanDataError, match=message) as error:
        read_map(path)
    assert "map.gpkg" in str(error.value)


def test_loose_ends_of_a_map_are_left_out_with_a_warning(tmp_path, vegas):
    path = tmp_path / "map.gpkg"
    write_map(path, vegas)
    connection = sqlite3.connect(path)
    connection.executescript("UPDATE lane_connectors SET entry_lane_fid = 999 WHERE fid = 7")
    connection.close()
    with pytest.warns(UserWarning, match="1 lane connectors that join unknown lanes"):
        loaded = read_map(path)
    assert [c.id for c in loaded.connectors] == ["6"]


def test_a_whole_map_warns_of_nothing(tmp_path, vegas):
    write_map(tmp_path / "map.gpkg", vegas)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_map(tmp_path / "map.gpkg")
