"""Read nuPlan maps, which are GeoPackages.

`<maps root>/nuplan-maps-v1.0.json` names each location's version, `<maps root>/<location>/<version>/map.gpkg` holds
the layers in longitude and latitude; they are projected to the location's UTM zone, the frame of the logs.
"""

import json
import os
import sqlite3
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import shapely

from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock
from embodia.envs.driving.nuplan.files import NuPlanDataError, connect, query, reading
from embodia.envs.driving.nuplan.utm import to_utm, zone_of

MAPS_ROOT_VARIABLE = "NUPLAN_MAPS_ROOT"
MAP_VERSION_VARIABLE = "NUPLAN_MAP_VERSION"
INDEX_FILE = "nuplan-maps-v1.0.json"
ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by the envelope code of a GeoPackage geometry header
COLUMNS = {  # layers a map must have, with the columns that are read
    "lanes_polygons": (
        "lane_fid", "lane_group_fid", "lane_index", "speed_limit_mps", "left_boundary_fid", "right_boundary_fid",
    ),
    "lane_connectors": (
        "exit_lane_fid", "entry_lane_fid", "lane_group_connector_fid", "traffic_light_stop_line_fids",
        "speed_limit_mps",
    ),
    "gen_lane_connectors_scaled_width_polygons": ("lane_connector_fid", "left_boundary_fid", "right_boundary_fid"),
    "baseline_paths": ("lane_fid", "lane_connector_fid"),
    "boundaries": (),
    "lane_groups_polygons": (),
    "lane_group_connectors": ("from_lane_group_fid", "to_lane_group_fid", "intersection_fid"),
    "intersections": (),
    "stop_polygons": ("stop_polygon_type_fid",),
    "crosswalks": (),
    "walkways": (),
    "carpark_areas": (),
    "road_segments": (),
    "generic_drivable_areas": (),
}  # fmt: skip


Row = dict[str, Any]
Edge = TypeVar("Edge")


def read_geometry(blob: bytes) -> Any:
    """Return the geometry of a GeoPackage geometry blob (OGC 12-128, 2.1.3). Raises ValueError if it is not one."""
    if blob[:2] != b"GP":
        raise ValueError("not a GeoPackage geometry")
    code = blob[3] >> 1 & 0b111
    if code >= len(ENVELOPE_BYTES):
        raise ValueError(f"unknown envelope code {code}")
    return shapely.from_wkb(blob[8 + ENVELOPE_BYTES[code] :])


class GeoPackage:
    """A map file: its metadata and its layers, projected."""

    def __init__(self, path: Path):
        self.path = path
        self.connection = connect(path, "map")
        meta = {row["key"]: row["value"] for row in self._query("SELECT key, value FROM meta")}
        system = str(meta.get("projectedCoordSystem", ""))
        try:
            self.epsg = int(system.lower().removeprefix("epsg:"))
            zone_of(self.epsg)
        except ValueError as error:
            message = f"{path}: table meta has no projectedCoordSystem 'epsg:326zz' (found {system!r:.60})"
            raise NuPlanDataError(message) from error

    def _query(self, sql: str) -> list[sqlite3.Row]:
        return query(self.connection, self.path, sql)

    def layer(self, name: str) -> list[Row]:
        """Rows of a layer with `fid` (str) and `geometry`, in the table's order. Raises NuPlanDataError."""
        columns = {row["name"]: row["pk"] for row in self._query(f'PRAGMA table_info("{name}")')}
        if not columns:
            raise NuPlanDataError(f"{self.path}: layer {name} is missing")
        missing = [c for c in COLUMNS[name] if c not in columns]
        if missing:
            raise NuPlanDataError(f"{self.path}: layer {name} lacks column {', '.join(missing)}")
        key = next((c for c, pk in columns.items() if pk), "rowid")
        geometry = self._geometry_column(name)
        rows = [dict(row) for row in self._query(f'SELECT {key} AS fid, * FROM "{name}" ORDER BY {key}')]
        return self._with_geometry(name, rows, geometry)

    def _geometry_column(self, name: str) -> str:
        found = self._query(f"SELECT column_name FROM gpkg_geometry_columns WHERE table_name = '{name}'")
        if not found:
            raise NuPlanDataError(f"{self.path}: layer {name} is not listed in gpkg_geometry_columns")
        return str(found[0]["column_name"])

    def _with_geometry(self, name: str, rows: list[Row], column: str) -> list[Row]:
        geometries = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            try:
                geometries[i] = read_geometry(row[column])
                if not np.isfinite(shapely.get_coordinates(geometries[i])).all():
                    raise ValueError("coordinates are not finite")
            except (ValueError, TypeError, IndexError, shapely.errors.ShapelyError) as error:
                raise NuPlanDataError(f"{self.path}: layer {name}, fid {row['fid']}: {error}") from error
        geometries = shapely.transform(geometries, lambda points: to_utm(points, self.epsg))
        return [{**row, "fid": str(row["fid"]), "geometry": g} for row, g in zip(rows, geometries)]


def key_of(value: Any) -> str:
    """Return an id as text; maps write ids as integers, floats or text."""
    return str(int(float(value)))


def speed_of(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def read_map(path: str | Path, name: str | None = None) -> Map:
    """Read a map.gpkg. Raises FileNotFoundError, or NuPlanDataError naming the layer and what it lacks."""
    package = GeoPackage(Path(path))
    try:
        layers = {layer: package.layer(layer) for layer in COLUMNS}
    finally:
        package.connection.close()
    with reading(str(path)):
        return MapBuilder(package.path, layers).build(name or package.path.parent.parent.name)


class MapBuilder:
    """Builds a map from the rows of its layers."""

    def __init__(self, path: Path, layers: dict[str, list[Row]]):
        self.path, self.layers = path, layers
        self.lane_ids = {row["fid"] for row in layers["lanes_polygons"]}
        self.boundaries = {row["fid"]: row["geometry"] for row in layers["boundaries"]}
        self.baselines: dict[tuple[str, str], Any] = {}
        for row in layers["baseline_paths"]:
            column = "lane_fid" if row["lane_fid"] is not None else "lane_connector_fid"
            self.baselines[column, self.key("baseline_paths", row, column)] = row["geometry"]

    def build(self, name: str) -> Map:
        layers = self.layers
        return Map(
            name,
            lanes=[self.built("lanes_polygons", row, self.lane) for row in layers["lanes_polygons"]],
            connectors=self.connectors(),
            roadblocks=[Roadblock(row["fid"], row["geometry"]) for row in layers["lane_groups_polygons"]],
            roadblock_connectors=self.roadblock_connectors(),
            intersections=self.polygons("intersections"),
            crosswalks=self.polygons("crosswalks"),
            stop_polygons=self.polygons("stop_polygons"),
            stop_polygon_types=[
                int(self.key("stop_polygons", row, "stop_polygon_type_fid")) for row in layers["stop_polygons"]
            ],
            walkways=self.polygons("walkways"),
            carparks=self.polygons("carpark_areas"),
            road_segments=self.polygons("road_segments"),
            generic_drivable_areas=self.polygons("generic_drivable_areas"),
        )

    def key(self, layer: str, row: Row, column: str) -> str:
        """Return the id in a column. Raises NuPlanDataError naming layer, row and column if it is not one."""
        try:
            return key_of(row[column])
        except (TypeError, ValueError, OverflowError) as error:
            place = f"{self.path}: layer {layer}, fid {row['fid']}"
            raise NuPlanDataError(f"{place}: column {column}: an id is expected, not {row[column]!r:.60}") from error

    def built(self, layer: str, row: Row, build: Callable[[Row], Edge]) -> Edge:
        """Build an object from a row of a layer. Raises NuPlanDataError naming layer and row if that fails."""
        with reading(f"{self.path}: layer {layer}, fid {row['fid']}"):
            return build(row)

    def roadblock_connectors(self) -> list[Roadblock]:
        known, layer = {row["fid"] for row in self.layers["lane_groups_polygons"]}, "lane_group_connectors"
        found = [
            Roadblock(
                row["fid"],
                row["geometry"],
                is_connector=True,
                from_block=self.key(layer, row, "from_lane_group_fid"),
                to_block=self.key(layer, row, "to_lane_group_fid"),
                intersection_id=None if row["intersection_fid"] is None else self.key(layer, row, "intersection_fid"),
            )
            for row in self.layers[layer]
        ]
        kept = [b for b in found if b.from_block in known and b.to_block in known]
        self.warn_of("roadblock connectors that join unknown roadblocks", len(found) - len(kept))
        return kept

    def polygons(self, layer: str) -> PolygonLayer:
        rows = self.layers[layer]
        return PolygonLayer([row["fid"] for row in rows], [row["geometry"] for row in rows])

    def lane(self, row: Row) -> Lane:
        return Lane(
            id=row["fid"],
            polygon=row["geometry"],
            baseline=self.baseline("lane_fid", row["fid"]),
            left_boundary=self.boundary("lanes_polygons", row, "left_boundary_fid"),
            right_boundary=self.boundary("lanes_polygons", row, "right_boundary_fid"),
            roadblock_id=self.key("lanes_polygons", row, "lane_group_fid"),
            speed_limit=speed_of(row["speed_limit_mps"]),
            index=int(row["lane_index"]),
        )

    def connectors(self) -> list[Lane]:
        """In the order of their polygons; `index` keeps the order of the connectors' own table."""
        polygon_layer = "gen_lane_connectors_scaled_width_polygons"
        table = {row["fid"]: (order, row) for order, row in enumerate(self.layers["lane_connectors"])}
        connectors = []
        for polygon in self.layers[polygon_layer]:
            fid = self.key(polygon_layer, polygon, "lane_connector_fid")
            if fid not in table:
                raise NuPlanDataError(f"{self.path}: layer {polygon_layer} names unknown lane connector {fid}")
            order, row = table.pop(fid)
            make = partial(self.connector, polygon, order)
            connectors.append(self.built("lane_connectors", row, make))
        kept = [c for c in connectors if c.from_lane in self.lane_ids and c.to_lane in self.lane_ids]
        self.warn_of("lane connectors without a polygon", len(table))
        self.warn_of("lane connectors that join unknown lanes", len(connectors) - len(kept))
        return kept

    def connector(self, polygon: Row, order: int, row: Row) -> Lane:
        stops = str(row["traffic_light_stop_line_fids"] or "").replace(" ", "").split(",")
        layer, polygon_layer = "lane_connectors", "gen_lane_connectors_scaled_width_polygons"
        return Lane(
            id=row["fid"],
            polygon=polygon["geometry"],
            baseline=self.baseline("lane_connector_fid", row["fid"]),
            left_boundary=self.boundary(polygon_layer, polygon, "left_boundary_fid"),
            right_boundary=self.boundary(polygon_layer, polygon, "right_boundary_fid"),
            roadblock_id=self.key(layer, row, "lane_group_connector_fid"),
            speed_limit=speed_of(row["speed_limit_mps"]),
            index=order,
            is_connector=True,
            from_lane=self.key(layer, row, "exit_lane_fid"),
            to_lane=self.key(layer, row, "entry_lane_fid"),
            stop_polygon_ids=tuple(s for s in stops if s),
        )

    def warn_of(self, what: str, count: int) -> None:
        """Warn of skipped rows. The devkit keeps them and fails when one is used."""
        if count:
            warnings.warn(f"{self.path}: skipped {count} {what}", stacklevel=2)

    def baseline(self, column: str, fid: str) -> Polyline:
        if (column, fid) not in self.baselines:
            raise NuPlanDataError(f"{self.path}: layer baseline_paths has no row with {column} {fid}")
        return Polyline(shapely.get_coordinates(self.baselines[column, fid]))

    def boundary(self, layer: str, row: Row, column: str) -> Polyline:
        fid = self.key(layer, row, column)
        if fid not in self.boundaries:
            raise NuPlanDataError(f"{self.path}: layer {layer}, fid {row['fid']}: {column} {fid} is not in boundaries")
        return Polyline(shapely.get_coordinates(self.boundaries[fid]))


def maps_root(root: str | Path | None = None) -> Path:
    """The given folder, else $NUPLAN_MAPS_ROOT. Raises FileNotFoundError saying what to set."""
    chosen = root or os.environ.get(MAPS_ROOT_VARIABLE)
    if not chosen or not Path(chosen).expanduser().is_dir():
        raise FileNotFoundError(f"no nuPlan maps at {chosen}; set {MAPS_ROOT_VARIABLE} to the folder of {INDEX_FILE}")
    return Path(chosen).expanduser()


def map_path(location: str, root: str | Path | None = None) -> Path:
    """Path of a location's map.gpkg below the maps root; $NUPLAN_MAP_VERSION names another index than v1.0's."""
    name = os.environ.get(MAP_VERSION_VARIABLE)
    index = maps_root(root) / (f"{name}.json" if name else INDEX_FILE)
    try:
        version = json.loads(index.read_text())[location]["version"]
        return index.parent / location / version / "map.gpkg"
    except FileNotFoundError:
        raise FileNotFoundError(f"no {index.name} in {index.parent}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NuPlanDataError(f"{index}: no version of location {location!r} ({error})") from error


@lru_cache(maxsize=4)
def load_cached(path: Path, name: str) -> Map:
    return read_map(path, name)


def load_map(location: str, root: str | Path | None = None) -> Map:
    """The map of a location such as 'us-nv-las-vegas-strip'; the last four are kept in memory."""
    return load_cached(map_path(location, root), location)
