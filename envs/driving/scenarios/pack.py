"""Scenario packs: many scenarios and the maps they share in one compressed file of arrays and JSON, never a pickle."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock
from embodia.envs.driving.scenarios.scenario import LightLog, Scenario, TrackLog

FORMAT = "embodia-scenario-pack"
VERSION = 1
LAYERS = (
    "intersections",
    "crosswalks",
    "stop_polygons",
    "walkways",
    "carparks",
    "road_segments",
    "generic_drivable_areas",
)
LANE_FIELDS = ("id", "roadblock_id", "speed_limit", "index", "is_connector", "from_lane", "to_lane", "stop_polygon_ids")
BLOCK_FIELDS = ("id", "is_connector", "from_block", "to_block", "intersection_id")
SCENARIO_FIELDS = ("token", "log_name", "type", "start", "num_iterations", "route", "goal", "info")
Arrays = dict[str, NDArray[Any]]


class PackError(ValueError):
    """A scenario pack that cannot be read; the message names the file and the entry."""


def flatten(parts: Sequence[NDArray[Any]], name: str) -> Arrays:
    """Parts of different lengths as one array and their lengths."""
    lengths = np.array([len(p) for p in parts], np.int64)
    joined = np.concatenate(parts) if parts else np.zeros((0, 2))
    return {name: joined, f"{name}_lengths": lengths}


def unflatten(arrays: Arrays, name: str) -> list[NDArray[Any]]:
    return np.split(arrays[name], np.cumsum(arrays[f"{name}_lengths"])[:-1]) if len(arrays[f"{name}_lengths"]) else []


def polygons_to_arrays(polygons: Sequence[Any], name: str) -> Arrays:
    return flatten([np.frombuffer(blob, np.uint8) for blob in shapely.to_wkb(np.asarray(polygons, object))], name)


def polygons_from_arrays(arrays: Arrays, name: str) -> list[Any]:
    return list(shapely.from_wkb([blob.tobytes() for blob in unflatten(arrays, name)]))


def map_to_records(road_map: Map) -> tuple[dict[str, Any], Arrays]:
    """A map as JSON values and arrays."""
    edges, blocks = road_map.edges, road_map.blocks
    records: dict[str, Any] = {
        "name": road_map.name,
        "edges": [[getattr(e, f) for f in LANE_FIELDS] for e in edges],
        "blocks": [[getattr(b, f) for f in BLOCK_FIELDS] for b in blocks],
        "layers": {name: getattr(road_map, name).ids for name in LAYERS},
        "stop_polygon_types": [int(t) for t in road_map.stop_polygon_types],
    }
    arrays = polygons_to_arrays([e.polygon for e in edges], "edge_polygons")
    arrays |= polygons_to_arrays([b.polygon for b in blocks], "block_polygons")
    for line in ("baseline", "left_boundary", "right_boundary"):
        arrays |= flatten([getattr(e, line).points for e in edges], line)
    for name in LAYERS:
        arrays |= polygons_to_arrays(getattr(road_map, name).polygons, name)
    return records, arrays


def map_from_records(records: dict[str, Any], arrays: Arrays) -> Map:
    lines = {k: map(Polyline, unflatten(arrays, k)) for k in ("baseline", "left_boundary", "right_boundary")}
    edges = []
    for values, polygon in zip(records["edges"], polygons_from_arrays(arrays, "edge_polygons"), strict=True):
        fields: dict[str, Any] = dict(zip(LANE_FIELDS, values, strict=True))
        fields["stop_polygon_ids"] = tuple(fields["stop_polygon_ids"])
        fields |= {name: next(line) for name, line in lines.items()}
        edges.append(Lane(polygon=polygon, **fields))
    blocks = [
        Roadblock(polygon=polygon, **dict(zip(BLOCK_FIELDS, values, strict=True)))
        for values, polygon in zip(records["blocks"], polygons_from_arrays(arrays, "block_polygons"), strict=True)
    ]
    layers = {k: PolygonLayer(records["layers"][k], polygons_from_arrays(arrays, k)) for k in LAYERS}
    return Map(
        records["name"],
        lanes=[e for e in edges if not e.is_connector],
        connectors=[e for e in edges if e.is_connector],
        roadblocks=[b for b in blocks if not b.is_connector],
        roadblock_connectors=[b for b in blocks if b.is_connector],
        stop_polygon_types=records["stop_polygon_types"],
        **layers,
    )


def scenario_to_records(scenario: Scenario) -> tuple[dict[str, Any], Arrays]:
    records = {name: getattr(scenario, name) for name in SCENARIO_FIELDS}
    records |= {"track_tokens": scenario.tracks.tokens, "connector_ids": scenario.lights.connector_ids}
    valid = scenario.tracks.valid
    arrays: Arrays = {
        "time_us": scenario.time_us,
        "ego": scenario.ego,
        "lights": scenario.lights.status,
        "track_types": scenario.tracks.types,
        "track_valid": valid,
        "track_boxes": scenario.tracks.boxes[valid],
        "track_velocities": scenario.tracks.velocities[valid],
    }
    return records, arrays


def scenario_from_records(records: dict[str, Any], arrays: Arrays, road_map: Map) -> Scenario:
    valid = arrays["track_valid"].astype(bool)
    boxes, velocities = np.zeros((*valid.shape, 5)), np.zeros((*valid.shape, 2))
    boxes[valid], velocities[valid] = arrays["track_boxes"], arrays["track_velocities"]
    fields = {name: records[name] for name in SCENARIO_FIELDS}
    fields["route"] = tuple(fields["route"])
    fields["goal"] = None if fields["goal"] is None else tuple(fields["goal"])
    return Scenario(
        map=road_map,
        time_us=arrays["time_us"],
        ego=arrays["ego"],
        tracks=TrackLog(tuple(records["track_tokens"]), arrays["track_types"], boxes, velocities, valid),
        lights=LightLog(tuple(records["connector_ids"]), arrays["lights"]),
        **fields,
    )


def write_arrays(archive: zipfile.ZipFile, prefix: str, arrays: Arrays) -> None:
    for name, array in arrays.items():
        with archive.open(f"{prefix}/{name}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


def save_pack(path: str | Path, scenarios: Sequence[Scenario]) -> None:
    """Write scenarios, and each map they use once, to one file; written aside and renamed, so never half a file."""
    path = Path(path)
    maps = list({id(s.map): s.map for s in scenarios}.values())
    index: dict[str, Any] = {"format": FORMAT, "version": VERSION, "maps": [], "scenarios": []}
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for i, road_map in enumerate(maps):
                records, arrays = map_to_records(road_map)
                index["maps"].append(records)
                write_arrays(archive, f"map{i}", arrays)
            for i, scenario in enumerate(scenarios):
                records, arrays = scenario_to_records(scenario)
                map_number = next(k for k, m in enumerate(maps) if m is scenario.map)
                index["scenarios"].append({**records, "map": map_number})
                write_arrays(archive, f"scenario{i}", arrays)
            archive.writestr("pack.json", json.dumps(index))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class ScenarioPack(Sequence[Scenario]):
    """Scenarios of a pack, read when asked for; maps are built once and shared. Raises PackError."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no scenario pack at {self.path}")
        index = json.loads(self._read("pack.json"))
        if index.get("format") != FORMAT or index.get("version") != VERSION:
            raise PackError(f"{self.path}: expected {FORMAT} version {VERSION}, found version {index.get('version')}")
        self._scenarios: list[dict[str, Any]] = index["scenarios"]
        self._maps: list[dict[str, Any]] = index["maps"]
        self._built: dict[int, Map] = {}

    def __len__(self) -> int:
        return len(self._scenarios)

    @property
    def tokens(self) -> list[str]:
        return [s["token"] for s in self._scenarios]

    @property
    def types(self) -> list[str]:
        return [s["type"] for s in self._scenarios]

    @overload
    def __getitem__(self, index: int) -> Scenario: ...

    @overload
    def __getitem__(self, index: slice) -> list[Scenario]: ...

    def __getitem__(self, index: int | slice) -> Scenario | list[Scenario]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        records = self._scenarios[number]
        arrays = self._arrays(f"scenario{number}")
        try:
            return scenario_from_records(records, arrays, self._map(records["map"]))
        except (KeyError, IndexError) as error:
            raise PackError(f"{self.path}: scenario {number} ({records.get('token')}) lacks {error}") from error

    def __iter__(self) -> Iterator[Scenario]:
        return (self[i] for i in range(len(self)))

    def _map(self, number: int) -> Map:
        if number not in self._built:
            self._built[number] = map_from_records(self._maps[number], self._arrays(f"map{number}"))
        return self._built[number]

    def _arrays(self, prefix: str) -> Arrays:
        with self._open() as archive:
            names = [n for n in archive.namelist() if n.startswith(f"{prefix}/")]
            return {n.removeprefix(f"{prefix}/").removesuffix(".npy"): self._read_array(archive, n) for n in names}

    def _read_array(self, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
        try:
            with archive.open(name) as entry:
                return np.asarray(np.lib.format.read_array(entry, allow_pickle=False))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise PackError(f"{self.path}: entry {name} is damaged ({error}); write the pack anew") from error

    def _read(self, name: str) -> bytes:
        with self._open() as archive:
            try:
                return archive.read(name)
            except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise PackError(f"{self.path}: entry {name} is missing or damaged ({error})") from error

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise PackError(f"{self.path}: not a scenario pack, or a truncated one ({error})") from error


def load_pack(path: str | Path) -> ScenarioPack:
    """Open a scenario pack. Raises FileNotFoundError, or PackError for a truncated, foreign or newer file."""
    return ScenarioPack(path)
