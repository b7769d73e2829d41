"""Writes maps and logs in nuPlan's own formats, so that readers (ours and others') can be tried on any scenario."""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.nuplan.logs import LIDAR_CHANNEL, LIGHTS, OFFSET_US
from embodia.envs.driving.nuplan.maps import INDEX_FILE
from embodia.envs.driving.nuplan.utm import to_lon_lat
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.types import STATIC_TYPES, Floats, StateColumn, TrackedObjectType

LAS_VEGAS = 32611  # EPSG
WGS84 = 4326  # EPSG
ROW_US = 50_000  # logs run at 20 Hz
LEAD_IN_ROWS = 3
LAYERS = {  # geometry type and columns beyond fid and geom
    "lanes_polygons": (
        "POLYGON", "lane_fid INTEGER, lane_group_fid INTEGER, lane_index INTEGER, speed_limit_mps REAL, "
        "left_boundary_fid INTEGER, right_boundary_fid INTEGER",
    ),
    "lane_connectors": (
        "LINESTRING", "exit_lane_fid INTEGER, entry_lane_fid INTEGER, lane_group_connector_fid INTEGER, "
        "traffic_light_stop_line_fids TEXT, speed_limit_mps REAL",
    ),
    "gen_lane_connectors_scaled_width_polygons": (
        "POLYGON", "lane_connector_fid INTEGER, left_boundary_fid INTEGER, right_boundary_fid INTEGER",
    ),
    "baseline_paths": ("LINESTRING", "lane_fid INTEGER, lane_connector_fid INTEGER, path_type_fid INTEGER"),
    "boundaries": ("LINESTRING", "boundary_type_fid INTEGER"),
    "lane_groups_polygons": ("POLYGON", "creator_id INTEGER"),
    "lane_group_connectors": (
        "POLYGON", "from_lane_group_fid INTEGER, to_lane_group_fid INTEGER, intersection_fid INTEGER",
    ),
    "intersections": ("POLYGON", "intersection_type_fid INTEGER"),
    "stop_polygons": ("POLYGON", "stop_polygon_type_fid INTEGER"),
    "crosswalks": ("POLYGON", "is_marked INTEGER"),
    "walkways": ("POLYGON", "creator_id INTEGER"),
    "carpark_areas": ("POLYGON", "heading REAL"),
    "road_segments": ("POLYGON", "creator_id INTEGER"),
    "generic_drivable_areas": ("POLYGON", "creator_id INTEGER"),
}  # fmt: skip
LOG_TABLES = """
CREATE TABLE log (token BLOB(8) PRIMARY KEY, vehicle_name VARCHAR(64), date VARCHAR(64), timestamp INTEGER,
    logfile VARCHAR(64), location VARCHAR(64), map_version VARCHAR(64));
CREATE TABLE ego_pose (token BLOB(8) PRIMARY KEY, timestamp INTEGER, x FLOAT, y FLOAT, z FLOAT, qw FLOAT, qx FLOAT,
    qy FLOAT, qz FLOAT, vx FLOAT, vy FLOAT, vz FLOAT, acceleration_x FLOAT, acceleration_y FLOAT,
    acceleration_z FLOAT, angular_rate_x FLOAT, angular_rate_y FLOAT, angular_rate_z FLOAT, epsg INTEGER,
    log_token BLOB(8));
CREATE TABLE lidar (token BLOB(8) PRIMARY KEY, log_token BLOB(8), channel VARCHAR(64), model VARCHAR(64),
    translation BLOB, rotation BLOB);
CREATE TABLE lidar_pc (token BLOB(8) PRIMARY KEY, next_token BLOB(8), prev_token BLOB(8), ego_pose_token BLOB(8),
    lidar_token BLOB(8), scene_token BLOB(8), filename VARCHAR(128), timestamp INTEGER);
CREATE TABLE lidar_box (token BLOB(8) PRIMARY KEY, lidar_pc_token BLOB(8), track_token BLOB(8), next_token BLOB(8),
    prev_token BLOB(8), x FLOAT, y FLOAT, z FLOAT, width FLOAT, length FLOAT, height FLOAT, vx FLOAT, vy FLOAT,
    vz FLOAT, yaw FLOAT, confidence FLOAT);
CREATE TABLE track (token BLOB(8) PRIMARY KEY, category_token BLOB(8), width FLOAT, length FLOAT, height FLOAT);
CREATE TABLE category (token BLOB(8) PRIMARY KEY, name VARCHAR(64), description TEXT);
CREATE TABLE scene (token BLOB(8) PRIMARY KEY, log_token BLOB(8), name TEXT, goal_ego_pose_token BLOB(8),
    roadblock_ids TEXT);
CREATE TABLE scenario_tag (token BLOB(8) PRIMARY KEY, lidar_pc_token BLOB(8), type TEXT, agent_track_token BLOB(8));
CREATE TABLE traffic_light_status (token BLOB(8) PRIMARY KEY, lidar_pc_token BLOB(8), lane_connector_id INTEGER,
    status VARCHAR(8));
CREATE TABLE camera (token BLOB(8) PRIMARY KEY, log_token BLOB(8), channel VARCHAR(64), model VARCHAR(64),
    translation BLOB, rotation BLOB, intrinsic BLOB, distortion BLOB, width INTEGER, height INTEGER);
CREATE TABLE image (token BLOB(8) PRIMARY KEY, next_token BLOB(8), prev_token BLOB(8), ego_pose_token BLOB(8),
    camera_token BLOB(8), filename_jpg VARCHAR(128), timestamp INTEGER);
CREATE INDEX lidar_box_of_frame ON lidar_box (lidar_pc_token);
CREATE INDEX lights_of_frame ON traffic_light_status (lidar_pc_token);
"""


def geometry_blob(geometry: Any) -> bytes:
    """A GeoPackage geometry: header without envelope, then WKB."""
    return b"GP" + struct.pack("<BBi", 0, 1, WGS84) + bytes(shapely.to_wkb(geometry, byte_order=1))


def write_map(path: str | Path, road_map: Map, epsg: int = LAS_VEGAS) -> None:
    """Write a map.gpkg. Ids must be whole numbers, as they are in nuPlan; raises ValueError for others."""
    Path(path).unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""
        CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT,
            organization_coordsys_id INTEGER, definition TEXT, description TEXT);
        INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84', {WGS84}, 'EPSG', {WGS84},
            'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],
            UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]', '');
        CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, identifier TEXT, description TEXT,
            last_change TEXT, min_x REAL, min_y REAL, max_x REAL, max_y REAL, srs_id INTEGER);
        CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT,
            srs_id INTEGER, z TINYINT, m TINYINT);
        CREATE TABLE meta (fid INTEGER PRIMARY KEY, key TEXT, value TEXT);
        INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('meta', 'attributes', 'meta');
        INSERT INTO meta (key, value) VALUES ('geographicCoordSystem', 'epsg:{WGS84}'),
            ('projectedCoordSystem', 'epsg:{epsg}');
        PRAGMA application_id = 1196444487;
        PRAGMA user_version = 10300;
        """
    )
    for layer, rows in map_rows(road_map).items():
        kind, columns = LAYERS[layer]
        connection.execute(f"CREATE TABLE {layer} (fid INTEGER PRIMARY KEY, geom {kind}, {columns})")
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES (?, 'features', ?, ?)",
            (layer, layer, WGS84),
        )
        connection.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (layer, kind, WGS84))
        for fid, geometry, *values in rows:
            degrees = shapely.transform(geometry, lambda points: to_lon_lat(points, epsg))
            record = (int(fid), geometry_blob(degrees), *values)
            connection.execute(f"INSERT INTO {layer} VALUES ({','.join('?' * len(record))})", record)
    connection.commit()
    connection.close()


def map_rows(road_map: Map) -> dict[str, list[tuple[Any, ...]]]:
    """Rows (fid, geometry, columns...) by layer. Boundaries get fresh ids."""
    boundaries: list[tuple[Any, ...]] = []

    def boundary(line: Any) -> int:
        boundaries.append((len(boundaries) + 1, line.line, 0))
        return len(boundaries)

    rows: dict[str, list[tuple[Any, ...]]] = {layer: [] for layer in LAYERS}
    for lane in road_map.lanes:
        sides = boundary(lane.left_boundary), boundary(lane.right_boundary)
        group = int(lane.roadblock_id)
        rows["lanes_polygons"].append(
            (lane.id, lane.polygon, int(lane.id), group, lane.index, lane.speed_limit, *sides)
        )
        rows["baseline_paths"].append((len(rows["baseline_paths"]) + 1, lane.baseline.line, int(lane.id), None, 0))
    for number, edge in enumerate(road_map.connectors, start=1):
        sides = boundary(edge.left_boundary), boundary(edge.right_boundary)
        joins = int(str(edge.from_lane)), int(str(edge.to_lane)), int(edge.roadblock_id)
        stops = ",".join(edge.stop_polygon_ids)
        rows["lane_connectors"].append((edge.id, edge.baseline.line, *joins, stops, edge.speed_limit))
        rows["gen_lane_connectors_scaled_width_polygons"].append((number, edge.polygon, int(edge.id), *sides))
        rows["baseline_paths"].append((len(rows["baseline_paths"]) + 1, edge.baseline.line, None, int(edge.id), 0))
    rows["boundaries"] = boundaries
    rows["lane_groups_polygons"] = [(b.id, b.polygon, 0) for b in road_map.roadblocks]
    rows["lane_group_connectors"] = [
        (b.id, b.polygon, int(str(b.from_block)), int(str(b.to_block)), b.intersection_id and int(b.intersection_id))
        for b in road_map.roadblock_connectors
    ]
    stops_of = zip(road_map.stop_polygons.ids, road_map.stop_polygons.polygons, road_map.stop_polygon_types)
    rows["stop_polygons"] = [(i, polygon, int(kind)) for i, polygon, kind in stops_of]
    for layer, areas in (
        ("intersections", road_map.intersections),
        ("crosswalks", road_map.crosswalks),
        ("walkways", road_map.walkways),
        ("carpark_areas", road_map.carparks),
        ("road_segments", road_map.road_segments),
        ("generic_drivable_areas", road_map.generic_drivable_areas),
    ):
        rows[layer] = [(i, polygon, 0) for i, polygon in zip(areas.ids, areas.polygons)]
    return rows


def write_maps_root(root: str | Path, maps: Iterable[Map], epsg: int = LAS_VEGAS) -> None:
    """Write maps in nuPlan's folder layout, with the index file that names their versions."""
    index = {}
    for road_map in maps:
        folder = Path(root) / road_map.name / "1.0"
        folder.mkdir(parents=True, exist_ok=True)
        write_map(folder / "map.gpkg", road_map, epsg)
        index[road_map.name] = {"version": "1.0", "layers": {}}
    (Path(root) / INDEX_FILE).write_text(json.dumps(index))


def token_of(*parts: Any) -> bytes:
    """Eight bytes that depend on what they name."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8]


class LogWriter:
    """Writes one log: rows at 20 Hz from scenarios at 10 Hz, every scenario in a scene of its own."""

    def __init__(self, path: Path, location: str):
        path.unlink(missing_ok=True)
        self.connection = sqlite3.connect(path)
        self.connection.executescript(LOG_TABLES)
        self.log, self.lidar = token_of("log", path.stem), token_of("lidar", path.stem)
        self.written: set[bytes] = set()
        self.last_frame: bytes | None = None
        self.insert("log", self.log, "veh", "2021-01-01", 0, path.stem, location, location)
        self.insert("lidar", self.lidar, self.log, LIDAR_CHANNEL, "", None, None)
        for kind in TrackedObjectType:
            if kind != TrackedObjectType.EGO:
                self.insert("category", token_of("category", int(kind)), kind.name.lower(), "")

    def insert(self, table: str, *values: Any) -> None:
        self.connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)

    def scene(self, name: str, goal: bytes | None = None, route: Sequence[str] = ()) -> bytes:
        token = token_of("scene", name)
        self.insert("scene", token, self.log, name, goal, " ".join(route) if route else None)
        return token

    def pose(self, token: bytes, time_us: int, state: Floats) -> None:
        c = StateColumn
        x, y, heading, vx, vy, ax, ay = (float(state[k]) for k in (c.X, c.Y, c.HEADING, c.VX, c.VY, c.AX, c.AY))
        turn = (float(np.cos(heading / 2)), 0.0, 0.0, float(np.sin(heading / 2)))
        motion = (vx, vy, 0.0, ax, ay, 0.0, 0.0, 0.0, float(state[c.YAW_RATE]))
        self.insert("ego_pose", token, time_us, x, y, 0.0, *turn, *motion, 0, self.log)

    def scenario(self, scenario: Scenario, number: int) -> None:
        tagged = scenario.start + round(-OFFSET_US / 100_000)
        seen = len(scenario.tracks.boxes)
        goal = None
        if scenario.goal is not None:
            goal = token_of("goal", number)
            state = np.zeros(len(StateColumn))
            state[:3] = scenario.goal
            self.pose(goal, 0, state)
        scene = self.scene(f"scene-{number:04d}", goal, scenario.route)
        for frame in range(len(scenario.time_us)):
            time_us = int(scenario.time_us[frame])
            token = bytes.fromhex(scenario.token) if frame == tagged else token_of("frame", number, frame)
            self.frame(token, time_us, scenario.ego[frame], scene)
            if frame < seen:
                self.objects(token, scenario, frame)
            if frame + 1 < len(scenario.time_us):  # the row between two frames, which a 10 Hz reader skips
                between = (scenario.ego[frame] + scenario.ego[frame + 1]) / 2
                self.frame(token_of("between", number, frame), time_us + ROW_US, between, scene)
        if tagged < len(scenario.time_us):
            tag = bytes.fromhex(scenario.token)
            self.insert("scenario_tag", token_of("tag", number), tag, scenario.type, None)

    def lead_in(self, scenario: Scenario, scene: bytes) -> None:
        """Rows before the first frame, coasting towards it: the devkit cannot read a history from a log's first row."""
        state = scenario.ego[0].copy()
        velocity = rotated(state[[StateColumn.VX, StateColumn.VY]], state[StateColumn.HEADING])
        for k in range(LEAD_IN_ROWS, 0, -1):
            earlier = state.copy()
            earlier[:2] -= velocity * k * ROW_US * 1e-6
            self.frame(token_of("lead-in", k), int(scenario.time_us[0]) - k * ROW_US, earlier, scene)

    def frame(self, token: bytes, time_us: int, state: Floats, scene: bytes) -> None:
        pose = token_of("pose", token.hex())
        self.pose(pose, time_us, state)
        self.insert("lidar_pc", token, None, self.last_frame, pose, self.lidar, scene, "", time_us)
        self.connection.execute("UPDATE lidar_pc SET next_token = ? WHERE token = ?", (token, self.last_frame))
        self.last_frame = token

    def objects(self, frame: bytes, scenario: Scenario, index: int) -> None:
        tracks = scenario.tracks.at(index)
        for name, kind, box, velocity in zip(tracks.tokens, tracks.types, tracks.boxes, tracks.velocities):
            x, y, yaw, length, width = map(float, box)
            track = bytes.fromhex(name) if is_token(name) else token_of("track", scenario.token, name)
            if track not in self.written:
                self.written.add(track)
                self.insert("track", track, token_of("category", int(kind)), width, length, 1.5)
            vx, vy = (None, None) if kind in STATIC_TYPES else map(float, velocity)
            box_token = token_of("box", frame.hex(), name)
            where = (x, y, 0.0, width, length, 1.5)
            self.insert("lidar_box", box_token, frame, track, None, None, *where, vx, vy, 0.0, yaw, 1.0)
        names = {status: name for name, status in LIGHTS.items()}
        for connector, status in scenario.lights.at(index).items():
            light = token_of("light", frame.hex(), connector)
            self.insert("traffic_light_status", light, frame, int(connector), names.get(status, "unknown"))


def rotated(vector: Floats, angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def is_token(name: str) -> bool:
    return len(name) == 16 and all(c in "0123456789abcdef" for c in name)


def write_log(path: str | Path, scenarios: Sequence[Scenario], location: str | None = None) -> None:
    """Write scenarios to one log file.

    Their times must not overlap and their tokens be 16 hexadecimal digits. Each gets a scene; two empty scenes stand
    before and two after them, because nuPlan ignores a log's outermost scenes. A scenario comes back with the type,
    length and start that nuPlan's extraction gives it (151 iterations, for the mined types).
    """
    for scenario in scenarios:
        if not is_token(scenario.token):
            raise ValueError(f"scenario token {scenario.token!r} is not 16 lower-case hexadecimal digits")
    writer = LogWriter(Path(path), location or scenarios[0].map.name)
    for name in ("scene-", "scene-0"):
        outermost = writer.scene(name)
    writer.lead_in(scenarios[0], outermost)
    for number, scenario in enumerate(scenarios, start=1):
        writer.scenario(scenario, number)
    for name in ("scene-x", "scene-y"):
        writer.scene(name)
    writer.connection.commit()
    writer.connection.close()
