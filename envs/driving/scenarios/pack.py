"""Scenario packs: many scenarios and the maps they share in one compressed file of arrays and JSON, never a pickle."""

import io
import json
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock
from embodia.envs.driving.scenarios.scenario import NO_REPORT, STATUS, LightLog, Scenario, TrackLog
from embodia.envs.driving.types import TrackedObjectType

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
SCENARIO_FIELDS = ("token", "log_name", "type", "start", "num_iterations", "route", "goal", "info")
Arrays = dict[str, NDArray[Any]]


LARGEST = 2**30  # [bytes] of one entry; a few kilobytes of a damaged file may unpack to any number
LANE_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "roadblock_id": (str,),
    "speed_limit": (int, float, type(None)),
    "index": (int,),
    "is_connector": (bool,),
    "from_lane": (str, type(None)),
    "to_lane": (str, type(None)),
    "stop_polygon_ids": (list, tuple),
}
BLOCK_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "is_connector": (bool,),
    "from_block": (str, type(None)),
    "to_block": (str, type(None)),
    "intersection_id": (str, type(None)),
}
SCENARIO_KINDS: dict[str, tuple[type, ...]] = {
    "token": (str,),
    "log_name": (str,),
    "type": (str,),
    "start": (int,),
    "num_iterations": (int,),
    "route": (list,),
    "goal": (list, type(None)),
    "info": (dict,),
    "track_tokens": (list,),
    "connector_ids": (list,),
    "map": (int,),
}
ARRAYS = {  # kinds of dtype and number of axes
    "time_us": ("iu", 1),
    "ego": ("f", 2),
    "lights": ("i", 2),
    "track_types": ("iu", 1),
    "track_valid": ("bui", 2),
    "track_boxes": ("f", 2),
    "track_velocities": ("f", 2),
}


class PackError(ValueError):
    """A scenario pack that cannot be read; the message names the file, the entry and the field."""


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Convert any exception that a damaged file causes to a PackError; `where` names file and entry."""
    try:
        yield
    except PackError:
        raise
    except (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
            shapely.errors.ShapelyError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
            SyntaxError) as error:  # fmt: skip
        what = f"lacks {error}" if isinstance(error, KeyError) else f"{error or type(error).__name__}"
        raise PackError(f"{where}: {what:.200}; write the pack again") from error


def check_kinds(records: Any, kinds: dict[str, tuple[type, ...]], where: str) -> None:
    """Check fields. Raises ValueError naming the first that is missing or has another type."""
    if not isinstance(records, dict):
        raise ValueError(f"{where} is a {type(records).__name__}, not an object")
    for name, types in kinds.items():
        if name not in records:
            raise ValueError(f"{where} lacks field {name}")
        value = records[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{where}: field {name} is {value!r:.60}")


def check_texts(values: Sequence[Any], where: str) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where} holds {next(v for v in values if not isinstance(v, str))!r:.60}, which is not text")


def flatten(parts: Sequence[NDArray[Any]], name: str) -> Arrays:
    """Parts of different lengths as one array and their lengths."""
    lengths = np.array([len(p) for p in parts], np.int64)
    joined = np.concatenate(parts) if parts else np.zeros((0, 2))
    return {name: joined, f"{name}_lengths": lengths}


def unflatten(arrays: Arrays, name: str) -> list[NDArray[Any]]:
    """Raises ValueError where the lengths do not fit the array."""
    joined, lengths = arrays[name], arrays[f"{name}_lengths"]
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or joined.ndim < 1:
        raise ValueError(f"{name}_lengths is {lengths.dtype} {lengths.shape}, not a list of whole numbers")
    if joined.dtype.kind not in "fiu":
        raise ValueError(f"{name} is {joined.dtype}, not numbers")
    if (lengths < 0).any() or lengths.sum() != len(joined):
        raise ValueError(f"{name} has {len(joined)} rows, {name}_lengths says {int(lengths.sum())}")
    return np.split(joined, np.cumsum(lengths)[:-1]) if len(lengths) else []


def polygons_to_arrays(polygons: Sequence[Any], name: str) -> Arrays:
    return flatten([np.frombuffer(blob, np.uint8) for blob in shapely.to_wkb(np.asarray(polygons, object))], name)


def polygons_from_arrays(arrays: Arrays, name: str) -> list[Any]:
    return list(shapely.from_wkb([blob.tobytes() for blob in unflatten(arrays, name)]))


def map_to_records(road_map: Map) -> tuple[dict[str, Any], Arrays]:
    """A map as JSON values and arrays."""
    edges, blocks = road_map.edges, road_map.blocks
    records: dict[str, Any] = {
        "name": road_map.name,
        "edges": [[getattr(e, f) for f in LANE_KINDS] for e in edges],
        "blocks": [[getattr(b, f) for f in BLOCK_KINDS] for b in blocks],
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
    """Raises KeyError, ValueError and its like where records and arrays do not fit."""
    lines = {k: map(Polyline, unflatten(arrays, k)) for k in ("baseline", "left_boundary", "right_boundary")}
    edges: list[Lane] = []
    for values, polygon in zip(records["edges"], polygons_from_arrays(arrays, "edge_polygons"), strict=True):
        fields: dict[str, Any] = dict(zip(LANE_KINDS, values, strict=True))
        check_kinds(fields, LANE_KINDS, f"edge {len(edges)}")
        check_texts(fields["stop_polygon_ids"], f"edge {len(edges)}: field stop_polygon_ids")
        fields["stop_polygon_ids"] = tuple(fields["stop_polygon_ids"])
        fields |= {name: next(line) for name, line in lines.items()}
        edges.append(Lane(polygon=polygon, **fields))
    blocks: list[Roadblock] = []
    for values, polygon in zip(records["blocks"], polygons_from_arrays(arrays, "block_polygons"), strict=True):
        fields = dict(zip(BLOCK_KINDS, values, strict=True))
        check_kinds(fields, BLOCK_KINDS, f"block {len(blocks)}")
        blocks.append(Roadblock(polygon=polygon, **fields))
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
    """Raises KeyError or ValueError naming the field that does not fit."""
    for name in ("route", "track_tokens", "connector_ids"):
        check_texts(records[name], f"field {name}")
    check_arrays(records, arrays)
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


def check_arrays(records: dict[str, Any], arrays: Arrays) -> None:
    """Raises KeyError or ValueError naming the first array that does not fit the others."""
    for name, (kinds, axes) in ARRAYS.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != axes:
            raise ValueError(f"array {name} is {array.dtype} {array.shape}")
    frames, objects = arrays["track_valid"].shape
    seen = int(np.count_nonzero(arrays["track_valid"]))
    shapes = {
        "track_types": (objects,),
        "track_boxes": (seen, 5),
        "track_velocities": (seen, 2),
        "lights": (frames, len(records["connector_ids"])),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"array {name} is {arrays[name].shape}, the others want {shape}")
    if objects != len(records["track_tokens"]):
        raise ValueError(f"field track_tokens has {len(records['track_tokens'])} entries for {objects} objects")
    for name, low, high in (
        ("track_types", 0, TrackedObjectType.GENERIC_OBJECT),
        ("lights", NO_REPORT, len(STATUS) - 1),
    ):
        if arrays[name].size and not low <= arrays[name].min() <= arrays[name].max() <= high:
            raise ValueError(f"array {name} holds a number outside {low} to {int(high)}")
    if not np.isfinite(arrays["track_boxes"]).all():
        raise ValueError("array track_boxes holds a number that is not finite")
    goal = records["goal"]
    if goal is not None and (len(goal) != 3 or not all(isinstance(each, int | float) for each in goal)):
        raise ValueError(f"field goal is {goal!r:.60}, not x, y and heading")


def write_arrays(archive: zipfile.ZipFile, prefix: str, arrays: Arrays) -> None:
    for name, array in arrays.items():
        with archive.open(f"{prefix}/{name}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


def save_pack(path: str | Path, scenarios: Sequence[Scenario]) -> None:
    """Write scenarios and their maps to one file. It is written under another name first, so it is never incomplete."""
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
    """Scenarios of a pack, read on demand; maps are built once and shared. Raises PackError."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no scenario pack at {self.path}")
        with reading(f"{self.path}: entry pack.json"), self._open() as archive:
            index = json.loads(self._read(archive, "pack.json"))
            check_kinds(index, {}, "the index")
            if index.get("format") != FORMAT or index.get("version") != VERSION:
                found = f"{index.get('format')!r:.60} version {index.get('version')!r:.20}"
                raise PackError(f"{self.path}: expected {FORMAT} version {VERSION}, found {found}")
            check_kinds(index, {"scenarios": (list,), "maps": (list,)}, "the index")
            for number, records in enumerate(index["scenarios"]):
                check_kinds(records, SCENARIO_KINDS, f"scenario {number}")
                if not 0 <= records["map"] < len(index["maps"]):
                    raise ValueError(f"scenario {number}: field map is {records['map']} of {len(index['maps'])} maps")
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
        road_map = self._map(records["map"])
        with reading(f"{self.path}: scenario {number} ({records['token']})"):
            return scenario_from_records(records, self._arrays(f"scenario{number}"), road_map)

    def __iter__(self) -> Iterator[Scenario]:
        return (self[i] for i in range(len(self)))

    def _map(self, number: int) -> Map:
        if number not in self._built:
            with reading(f"{self.path}: map {number}"):
                self._built[number] = map_from_records(self._maps[number], self._arrays(f"map{number}"))
        return self._built[number]

    def _arrays(self, prefix: str) -> Arrays:
        with self._open() as archive:
            names = [n for n in archive.namelist() if n.startswith(f"{prefix}/")]
            return {n.removeprefix(f"{prefix}/").removesuffix(".npy"): self._read_array(archive, n) for n in names}

    def _read_array(self, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
        with reading(f"{self.path}: entry {name} is damaged"):
            return np.asarray(np.lib.format.read_array(io.BytesIO(self._read(archive, name)), allow_pickle=False))

    def _read(self, archive: zipfile.ZipFile, name: str) -> bytes:
        """Raises PackError for an entry that would not fit into memory."""
        size = archive.getinfo(name).file_size
        if size > LARGEST:
            raise PackError(f"{self.path}: entry {name} says it has {size:,} bytes; no pack has more than {LARGEST:,}")
        return archive.read(name)

    def _open(self) -> zipfile.ZipFile:
        with reading(f"{self.path}: not a scenario pack, or a truncated one"):
            return zipfile.ZipFile(self.path)


def load_pack(path: str | Path) -> ScenarioPack:
    """Open a scenario pack. Raises FileNotFoundError, or PackError for a truncated, foreign or newer file."""
    return ScenarioPack(path)
