"""Find, filter and read the scenarios of nuPlan logs, which are SQLite files.

Layout: `$NUPLAN_DATA_ROOT/nuplan-v1.1/splits/<split>/<log>.db`, maps in `$NUPLAN_MAPS_ROOT` (see `nuplan.maps`).
"""

import os
import random
import re
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.nuplan.files import NuPlanDataError, connect, numbers, query, reading
from embodia.envs.driving.nuplan.maps import load_map
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, LightLog, Scenario, TrackLog
from embodia.envs.driving.types import (
    AGENT_TYPES,
    STATE_SIZE,
    Floats,
    Ints,
    StateColumn,
    TrackedObjectType,
    Tracks,
    TrafficLights,
    TrafficLightStatus,
)

DATA_ROOT_VARIABLE = "NUPLAN_DATA_ROOT"
VERSION_FOLDER = "nuplan-v1.1"
LIDAR_CHANNEL = "MergedPointCloud"
UNKNOWN_TYPE = "unknown"
ROW_STEP = 2  # log rows (20 Hz) per frame (10 Hz)
FUTURE_FRAMES = 80  # the expert's future beyond the scenario, for open-loop scores
DURATION_US, OFFSET_US = 15_000_000, -3_000_000  # of every mined scenario type
UNKNOWN_DURATION_US = 20_000_000  # of other types and of frames without a tag
LONG_STEP_US, LONGEST_STEP_US = 125_000, 500_000  # steps between frames that are warned of, and refused
EGO_COLUMNS = ("x", "y", "qw", "qx", "qy", "qz", "vx", "vy", "acceleration_x", "acceleration_y")
MINED_TYPES = frozenset(
    [
        "accelerating_at_crosswalk",
        "accelerating_at_stop_sign",
        "accelerating_at_stop_sign_no_crosswalk",
        "accelerating_at_traffic_light",
        "accelerating_at_traffic_light_with_lead",
        "accelerating_at_traffic_light_without_lead",
        "behind_bike",
        "behind_long_vehicle",
        "behind_pedestrian_on_driveable",
        "behind_pedestrian_on_pickup_dropoff",
        "changing_lane",
        "changing_lane_to_left",
        "changing_lane_to_right",
        "changing_lane_with_lead",
        "changing_lane_with_trail",
        "crossed_by_bike",
        "crossed_by_vehicle",
        "following_lane_with_lead",
        "following_lane_with_slow_lead",
        "following_lane_without_lead",
        "high_lateral_acceleration",
        "high_magnitude_jerk",
        "high_magnitude_speed",
        "low_magnitude_speed",
        "medium_magnitude_speed",
        "near_barrier_on_driveable",
        "near_construction_zone_sign",
        "near_high_speed_vehicle",
        "near_long_vehicle",
        "near_multiple_bikes",
        "near_multiple_pedestrians",
        "near_multiple_vehicles",
        "near_pedestrian_at_pickup_dropoff",
        "near_pedestrian_on_crosswalk",
        "near_pedestrian_on_crosswalk_with_ego",
        "near_trafficcone_on_driveable",
        "on_all_way_stop_intersection",
        "on_carpark",
        "on_intersection",
        "on_pickup_dropoff",
        "on_stopline_crosswalk",
        "on_stopline_stop_sign",
        "on_stopline_traffic_light",
        "on_traffic_light_intersection",
        "starting_high_speed_turn",
        "starting_left_turn",
        "starting_low_speed_turn",
        "starting_protected_cross_turn",
        "starting_protected_noncross_turn",
        "starting_right_turn",
        "starting_straight_stop_sign_intersection_traversal",
        "starting_straight_traffic_light_intersection_traversal",
        "starting_u_turn",
        "starting_unprotected_cross_turn",
        "starting_unprotected_noncross_turn",
        "stationary",
        "stationary_at_crosswalk",
        "stationary_at_traffic_light_with_lead",
        "stationary_at_traffic_light_without_lead",
        "stationary_in_traffic",
        "stopping_at_crosswalk",
        "stopping_at_stop_sign_no_crosswalk",
        "stopping_at_stop_sign_with_lead",
        "stopping_at_stop_sign_without_lead",
        "stopping_at_traffic_light_with_lead",
        "stopping_at_traffic_light_without_lead",
        "stopping_with_lead",
        "traversing_crosswalk",
        "traversing_intersection",
        "traversing_narrow_lane",
        "traversing_pickup_dropoff",
        "traversing_traffic_light_intersection",
        "waiting_for_pedestrian_to_cross",
    ]
)
"""nuPlan's scenario types: 15 s from 3 s before the tagged frame on. Others run 20 s from their frame on."""
VAL14_TYPES = (
    "starting_left_turn",
    "starting_right_turn",
    "starting_straight_traffic_light_intersection_traversal",
    "stopping_with_lead",
    "high_lateral_acceleration",
    "high_magnitude_speed",
    "low_magnitude_speed",
    "traversing_pickup_dropoff",
    "waiting_for_pedestrian_to_cross",
    "behind_long_vehicle",
    "stationary_in_traffic",
    "near_multiple_vehicles",
    "changing_lane",
    "following_lane_with_lead",
)
CATEGORIES = {kind.name.lower(): kind for kind in TrackedObjectType if kind != TrackedObjectType.EGO}
LIGHTS = {"green": TrafficLightStatus.GREEN, "yellow": TrafficLightStatus.YELLOW, "red": TrafficLightStatus.RED}
TOKEN = re.compile(r"\b[0-9a-f]{16}\b")
SCHEMA = {
    "log": ("token", "logfile", "map_version"),
    "ego_pose": ("token", "x", "y", "qw", "qx", "qy", "qz", "vx", "vy", "acceleration_x", "acceleration_y"),
    "lidar": ("token", "log_token", "channel"),
    "lidar_pc": ("token", "ego_pose_token", "lidar_token", "scene_token", "timestamp"),
    "lidar_box": (
        "lidar_pc_token", "track_token", "x", "y", "width", "length", "vx", "vy", "yaw",
    ),
    "track": ("token", "category_token"),
    "category": ("token", "name"),
    "scene": ("token", "name", "goal_ego_pose_token", "roadblock_ids"),
    "scenario_tag": ("lidar_pc_token", "type"),
    "traffic_light_status": ("lidar_pc_token", "lane_connector_id", "status"),
}  # fmt: skip


@dataclass(frozen=True)
class ScenarioFilter:
    """Selects scenarios; None selects all. The names are those of nuPlan's own filter."""

    scenario_types: tuple[str, ...] | None = None  # "val14" stands for its 14 types
    scenario_tokens: tuple[str, ...] | None = None
    log_names: tuple[str, ...] | None = None
    map_names: tuple[str, ...] | None = None
    num_scenarios_per_type: int | None = None
    limit_total_scenarios: int | None = None
    timestamp_threshold_s: float | None = None  # scenarios of a type are at least so far apart
    remove_invalid_goals: bool = False
    shuffle_seed: int | None = None  # with a seed, samples at random instead of evenly

    def __post_init__(self) -> None:
        for name in ("scenario_types", "scenario_tokens", "log_names", "map_names"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(value))

    def types(self) -> tuple[str, ...] | None:
        if self.scenario_types is None:
            return None
        named = ((VAL14_TYPES if name == "val14" else (name,)) for name in self.scenario_types)
        return tuple(dict.fromkeys(name for names in named for name in names))

    def tokens(self) -> tuple[str, ...] | None:
        """Return the tokens; those of a file, such as a benchmark's list, are read from it. Raises NuPlanDataError."""
        if self.scenario_tokens is None:
            return None
        return tuple(token for given in self.scenario_tokens for token in tokens_of(given))


@dataclass(frozen=True)
class ScenarioTag:
    """A scenario in a log: the tagged frame and its type."""

    log: Path
    token: str
    time_us: int
    type: str
    map_name: str
    has_route: bool = True


class NuPlanLog:
    """One `.db` file, opened read-only. Raises FileNotFoundError, or NuPlanDataError naming what is wrong with it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.connection = connect(self.path, "nuPlan log")
        for table, columns in SCHEMA.items():
            present = {row["name"] for row in self._query(f"PRAGMA table_info({table})")}
            if not present:
                raise NuPlanDataError(f"{self.path}: table {table} is missing; is it a nuPlan v1.1 log?")
            for column in columns:
                if column not in present:
                    raise NuPlanDataError(f"{self.path}: table {table} lacks column {column}")

    @property
    def name(self) -> str:
        return self.path.stem

    def close(self) -> None:
        self.connection.close()

    def _query(self, sql: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return query(self.connection, self.path, sql, arguments)

    def tags(self, chosen: ScenarioFilter | None = None) -> list[ScenarioTag]:
        """Frames with a tag (or any frame named by its token) in scenes with two more on either side, in time order.

        Of several tags on one frame the alphabetically last one that the filter allows counts.
        """
        chosen = chosen or ScenarioFilter()
        conditions: list[str] = ["1"]
        arguments: list[Any] = []
        for column, values in (("st.type", chosen.types()), ("l.map_version", chosen.map_names)):
            if values is not None:
                conditions.append(f"{column} IN ({marks(values)})")
                arguments += list(values)
        if (tokens := chosen.tokens()) is not None:
            conditions.append(f"lp.token IN ({marks(tokens)})")
            arguments += [bytes.fromhex(token) for token in tokens]
        elif chosen.scenario_types is None:
            conditions.append("st.type IS NOT NULL")
        if chosen.remove_invalid_goals:
            conditions.append("s.goal_ego_pose_token IN (SELECT token FROM ego_pose)")
        with reading(f"{self.path}: tables lidar_pc, scene and scenario_tag"):
            return self._tags(conditions, arguments)

    def _tags(self, conditions: Sequence[str], arguments: Sequence[Any]) -> list[ScenarioTag]:
        rows = self._query(
            f"""
            WITH ordered AS (SELECT token, ROW_NUMBER() OVER (ORDER BY name) AS number FROM scene),
                 valid AS (SELECT token FROM ordered WHERE number >= 3 AND number < (SELECT COUNT(*) FROM scene) - 1)
            SELECT lp.token, lp.timestamp, l.map_version, MAX(st.type) AS type, s.roadblock_ids
            FROM lidar_pc AS lp
            JOIN valid ON lp.scene_token = valid.token
            JOIN scene AS s ON lp.scene_token = s.token
            JOIN lidar ON lp.lidar_token = lidar.token
            JOIN log AS l ON lidar.log_token = l.token
            LEFT JOIN scenario_tag AS st ON st.lidar_pc_token = lp.token
            WHERE {" AND ".join(conditions)}
            GROUP BY lp.token, lp.timestamp, l.map_version
            ORDER BY lp.timestamp
            """,
            arguments,
        )
        return [
            ScenarioTag(
                self.path,
                r["token"].hex(),
                int(r["timestamp"]),
                str(r["type"] or UNKNOWN_TYPE),
                str(r["map_version"]),
                bool(str(r["roadblock_ids"] or "").strip()),
            )
            for r in rows
        ]

    def scenario(self, tag: ScenarioTag, road_map: Map) -> Scenario:
        """Read the scenario around a tagged frame.

        Raises NuPlanDataError naming log, scenario, table and column. Warns of gaps between sweeps and of objects
        without a velocity, which nuPlan reads all the same.
        """
        with reading(f"{self.path}: scenario {tag.token}"):
            return self._scenario(tag, road_map)

    def _scenario(self, tag: ScenarioTag, road_map: Map) -> Scenario:
        tokens, times = self._frames(tag)
        start, end, rows = self._rows_of(tag, times)
        self._check_gaps(tag, times[rows])
        frames = [tokens[row] for row in rows]
        num_seen = end - start  # frames with tracks: history and iterations
        ego = self._ego_states(frames, tag)
        route, goal = self._mission(tag)
        tracks = self._tracks(frames[:num_seen], tag)
        return Scenario(
            token=tag.token,
            log_name=self.name,
            type=tag.type,
            map=road_map,
            time_us=times[rows],
            ego=ego,
            start=-start,
            num_iterations=end,
            tracks=TrackLog.from_frames(tracks, first=-start),
            lights=LightLog.from_frames(self._lights(frames[:num_seen])),
            route=route,
            goal=goal,
        )

    def _frames(self, tag: ScenarioTag) -> tuple[list[bytes], Ints]:
        """Tokens and times of the log's lidar sweeps around a scenario, in time order."""
        margin = 2 * (HISTORY_FRAMES + FUTURE_FRAMES) * 100_000 + UNKNOWN_DURATION_US
        rows = self._query(
            "SELECT lp.token, lp.timestamp FROM lidar_pc AS lp JOIN lidar ON lp.lidar_token = lidar.token "
            "WHERE lidar.channel = ? AND lp.timestamp BETWEEN ? AND ? ORDER BY lp.timestamp",
            (LIDAR_CHANNEL, tag.time_us - margin, tag.time_us + margin),
        )
        times = numbers(rows, ("timestamp",), f"{self.path}: scenario {tag.token}: table lidar_pc")
        return [row["token"] for row in rows], np.array(times, np.int64).reshape(-1)

    def _rows_of(self, tag: ScenarioTag, times: Ints) -> tuple[int, int, Ints]:
        """First frame (negative: history), number of iterations, and the rows of all frames, future included."""
        mined = tag.type in MINED_TYPES
        begin = tag.time_us + (OFFSET_US if mined else 0)
        end = begin + (DURATION_US if mined else UNKNOWN_DURATION_US)
        first = int(np.searchsorted(times, begin))
        last = int(np.searchsorted(times, end, side="right"))
        iterations = len(range(first, last, ROW_STEP))
        if iterations < 2:
            raise NuPlanDataError(
                f"{self.path}: scenario {tag.token} has {iterations} frames between {begin} and {end} us "
                "(table lidar_pc); two are needed"
            )
        past = min(HISTORY_FRAMES, first // ROW_STEP)
        future = min(FUTURE_FRAMES, (len(times) - 1 - first) // ROW_STEP - iterations + 1)
        rows = first + ROW_STEP * np.arange(-past, iterations + future)
        return -past, iterations, rows

    def _check_gaps(self, tag: ScenarioTag, times: Ints) -> None:
        """Sweeps that are missing make a step longer than 0.1 s. Raises NuPlanDataError for a gap of half a second."""
        steps = np.diff(times)
        if not len(steps) or steps.max() <= LONG_STEP_US:
            return
        where = int(np.argmax(steps))
        place = f"{self.path}: scenario {tag.token}: table lidar_pc"
        if steps[where] > LONGEST_STEP_US:
            raise NuPlanDataError(f"{place}: no sweep for {steps[where] * 1e-6:.2f} s after {times[where]} us")
        count = int((steps > LONG_STEP_US).sum())
        message = f"{place}: {count} gaps between sweeps; the longest step is {steps[where] * 1e-6:.2f} s, not 0.1 s"
        warnings.warn(message, stacklevel=2)

    def _ego_states(self, frames: list[bytes], tag: ScenarioTag) -> Floats:
        """(F, 11); the log has neither steering nor rates, they are zero."""
        rows = self._query(
            "SELECT lp.token AS frame, ep.* FROM lidar_pc AS lp JOIN ego_pose AS ep ON lp.ego_pose_token = ep.token "
            f"WHERE lp.token IN ({marks(frames)})",
            frames,
        )
        by_frame = {row["frame"]: row for row in rows}
        states = np.zeros((len(frames), STATE_SIZE))
        for state, frame in zip(states, frames):
            if frame not in by_frame:
                raise NuPlanDataError(
                    f"{self.path}: scenario {tag.token}: lidar_pc {frame.hex()} has no row in table ego_pose"
                )
            row = by_frame[frame]
            place = f"{self.path}: scenario {tag.token}: table ego_pose"
            ((x, y, w, *turn, vx, vy, ax, ay),) = numbers([row], EGO_COLUMNS, place)
            state[: StateColumn.STEERING] = x, y, yaw_of(w, *turn), vx, vy, ax, ay
        return states

    def _tracks(self, frames: list[bytes], tag: ScenarioTag) -> list[Tracks]:
        rows = self._query(
            "SELECT lb.lidar_pc_token AS frame, lb.track_token, c.name, lb.x, lb.y, lb.yaw, lb.length, lb.width, "
            "lb.vx, lb.vy FROM lidar_box AS lb JOIN track AS t ON lb.track_token = t.token "
            f"JOIN category AS c ON t.category_token = c.token WHERE lb.lidar_pc_token IN ({marks(frames)}) "
            "ORDER BY lb.rowid",
            frames,
        )
        by_frame: dict[bytes, list[sqlite3.Row]] = {frame: [] for frame in frames}
        for row in rows:
            by_frame[row["frame"]].append(row)
        tracks = [self._tracks_of(by_frame[frame], tag) for frame in frames]
        if unknown := sum(int(np.isnan(each.velocities).any(axis=1).sum()) for each in tracks):
            place = f"{self.path}: scenario {tag.token}: table lidar_box"
            warnings.warn(f"{place}: {unknown} boxes of agents have no velocity (vx, vy)", stacklevel=2)
        return tracks

    def _tracks_of(self, rows: list[sqlite3.Row], tag: ScenarioTag) -> Tracks:
        if not rows:
            return Tracks.empty()
        try:
            types = np.array([CATEGORIES[row["name"]] for row in rows], np.int8)
        except KeyError as error:
            raise NuPlanDataError(f"{self.path}: table category has unknown name {error}") from error
        place = f"{self.path}: scenario {tag.token}: table lidar_box"
        boxes = np.array(numbers(rows, ("x", "y", "yaw", "length", "width"), place))
        moving = [row for row in rows if row["vx"] is not None and row["vy"] is not None]
        numbers(moving, ("vx", "vy"), place)
        velocities = np.array([[row["vx"], row["vy"]] for row in rows], np.float64)  # None becomes NaN
        velocities[~np.isin(types, AGENT_TYPES)] = 0.0
        return Tracks(tuple(row["track_token"].hex() for row in rows), types, boxes, velocities)

    def _lights(self, frames: list[bytes]) -> list[TrafficLights]:
        rows = self._query(
            "SELECT lidar_pc_token AS frame, lane_connector_id, status FROM traffic_light_status "
            f"WHERE lidar_pc_token IN ({marks(frames)})",
            frames,
        )
        by_frame: dict[bytes, dict[str, TrafficLightStatus]] = {frame: {} for frame in frames}
        for row in rows:
            status = LIGHTS.get(row["status"], TrafficLightStatus.UNKNOWN)
            by_frame[row["frame"]][str(row["lane_connector_id"])] = status
        return [by_frame[frame] for frame in frames]

    def _mission(self, tag: ScenarioTag) -> tuple[tuple[str, ...], tuple[float, float, float] | None]:
        """Route and goal of the tagged frame's scene; a scene without a route gives none."""
        rows = self._query(
            "SELECT s.roadblock_ids, ep.x, ep.y, ep.qw, ep.qx, ep.qy, ep.qz FROM lidar_pc AS lp "
            "JOIN scene AS s ON lp.scene_token = s.token LEFT JOIN ego_pose AS ep ON s.goal_ego_pose_token = ep.token "
            "WHERE lp.token = ?",
            (bytes.fromhex(tag.token),),
        )
        if not rows:
            raise NuPlanDataError(f"{self.path}: scenario {tag.token} has no row in table scene")
        row = rows[0]
        route = tuple(str(row["roadblock_ids"] or "").split())
        if row["x"] is None:
            return route, None
        place = f"{self.path}: scenario {tag.token}: the goal in table ego_pose"
        ((x, y, *turn),) = numbers([row], ("x", "y", "qw", "qx", "qy", "qz"), place)
        return route, (x, y, yaw_of(*turn))


def marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def tokens_of(given: str) -> list[str]:
    """Return a token, or all tokens in a file. Raises NuPlanDataError."""
    if TOKEN.fullmatch(given):
        return [given]
    if not Path(given).is_file():
        raise NuPlanDataError(f"{given} is neither a scenario token (16 hexadecimal digits) nor a file of tokens")
    tokens = TOKEN.findall(Path(given).read_text(errors="replace"))
    if not tokens:
        raise NuPlanDataError(f"{given} contains no scenario token (16 hexadecimal digits)")
    return tokens


def yaw_of(w: float, x: float, y: float, z: float) -> float:
    """Yaw [rad] of a quaternion as pyquaternion's yaw_pitch_roll gives it."""
    norm = w * w + x * x + y * y + z * z
    return float(np.arctan2(2 * (w * z - x * y) / norm, 1 - 2 * (y * y + z * z) / norm))


def log_files(where: str | Path) -> list[Path]:
    """Return the logs at a path: a `.db` file, all below a folder, or those of a split below `$NUPLAN_DATA_ROOT`.

    Raises FileNotFoundError.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return [path]
    if not path.exists() and os.environ.get(DATA_ROOT_VARIABLE) and len(path.parts) == 1:
        return find_logs(path.name)
    if not path.is_dir():
        raise FileNotFoundError(
            f"no nuPlan logs at {path}; give a .db file, a folder of them, or a split (mini, val) below "
            f"${DATA_ROOT_VARIABLE}"
        )
    logs = sorted(path.rglob("*.db"))
    if not logs:
        raise FileNotFoundError(f"no nuPlan log (.db) in {path} or below it")
    return logs


def find_logs(split: str = "mini", root: str | Path | None = None, names: Iterable[str] | None = None) -> list[Path]:
    """Logs of a split (a folder below splits/), by name. Raises FileNotFoundError saying what to set."""
    chosen = root or os.environ.get(DATA_ROOT_VARIABLE)
    if not chosen:
        raise FileNotFoundError(f"set {DATA_ROOT_VARIABLE} to the folder that holds {VERSION_FOLDER}/splits")
    folder = Path(chosen).expanduser() / VERSION_FOLDER / "splits" / split
    if not folder.is_dir():
        raise FileNotFoundError(f"no nuPlan split at {folder}; set {DATA_ROOT_VARIABLE} or choose another split")
    wanted = None if names is None else set(names)
    return [path for path in sorted(folder.glob("*.db")) if wanted is None or path.stem in wanted]


def find_scenarios(logs: Iterable[str | Path], chosen: ScenarioFilter | None = None) -> list[ScenarioTag]:
    """Scenarios of many logs that pass the filter, grouped by type in order of first appearance."""
    chosen = chosen or ScenarioFilter()
    by_type: dict[str, list[ScenarioTag]] = {}
    for path in logs:
        if chosen.log_names is not None and Path(path).stem not in chosen.log_names:
            continue
        log = NuPlanLog(path)
        for tag in log.tags(chosen):
            by_type.setdefault(tag.type, []).append(tag)
        log.close()
    dice = None if chosen.shuffle_seed is None else random.Random(chosen.shuffle_seed)
    if chosen.num_scenarios_per_type is not None:
        by_type = {kind: thin_out(tags, chosen.num_scenarios_per_type, dice) for kind, tags in by_type.items()}
    tags = [tag for group in by_type.values() for tag in group]
    if chosen.limit_total_scenarios is not None:
        tags = thin_out(tags, chosen.limit_total_scenarios, dice)
    return tags if chosen.timestamp_threshold_s is None else spread_out(tags, chosen.timestamp_threshold_s)


def thin_out(tags: list[ScenarioTag], count: int, dice: random.Random | None) -> list[ScenarioTag]:
    """Return at most `count` of them, evenly spaced or sampled at random."""
    if dice is not None and count < len(tags):
        return dice.sample(tags, count)
    return tags[:: max(len(tags) // count, 1)][:count]


def spread_out(tags: list[ScenarioTag], seconds: float) -> list[ScenarioTag]:
    """Return, of each type, only scenarios that start at least `seconds` after the last one returned."""
    kept: list[ScenarioTag] = []
    next_allowed: dict[str, float] = {}
    for tag in sorted(tags, key=lambda t: t.time_us):
        if tag.time_us * 1e-6 >= next_allowed.get(tag.type, -np.inf):
            kept.append(tag)
            next_allowed[tag.type] = tag.time_us * 1e-6 + seconds
    return kept


def load_scenarios(
    tags: Iterable[ScenarioTag], maps: str | Path | None = None, road_map: Map | None = None
) -> Iterator[Scenario]:
    """Read scenarios one by one; maps come from the maps root (given, or $NUPLAN_MAPS_ROOT) unless one is given."""
    log: NuPlanLog | None = None
    for tag in tags:
        if log is None or log.path != tag.log:
            log = NuPlanLog(tag.log)
        yield log.scenario(tag, road_map or load_map(tag.map_name, maps))
