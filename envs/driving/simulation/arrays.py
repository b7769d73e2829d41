"""Scenarios as padded arrays, for the batched environment.

Every scenario is moved to a frame of its own (origin at the ego's first rear axle, axes as in the map), so that
float32 keeps its precision. Padding is marked by masks; nothing about the simulation is approximate here but the
drivable area, kept as a grid of signed distances.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.map.lane_pieces import lane_pieces
from embodia.envs.driving.map.route_path import RoutePath, route_path
from embodia.envs.driving.scenarios.scenario import NO_REPORT, Scenario
from embodia.envs.driving.types import STATE_SIZE, Bools, Floats, TrackedObjectType, TrafficLightStatus

Singles = NDArray[np.float32]
PATH_LENGTH = 400.0  # [m]
PATH_STEP = 1.0  # [m]
PATH_POINTS = int(PATH_LENGTH / PATH_STEP) + 1
GRID_SIZE, GRID_STEP = 512, 0.5  # signed distances: nodes a side, [m] between them
GRID_OVERSAMPLE = 4
GRID_UNIT = 0.05  # [m] one unit of the int8 grid; distances beyond 6.35 m are cut there
NO_LIGHT = -1
MAX_LIGHTS, MAX_PIECES = 256, 192


@dataclass(frozen=True)
class ScenarioArrays:
    """One scenario of T iterations in the frame of its own."""

    origin: Floats  # (2,) of the frame, in map coordinates
    length: NDArray[np.int64]  # () T
    ego: Singles  # (T, 11) the expert, as `types.StateColumn`
    boxes: Singles  # (T, M, 5) centre x, y, heading, length, width
    velocities: Singles  # (T, M, 2)
    valid: Bools  # (T, M)
    types: NDArray[np.int64]  # (M,) TrackedObjectType
    track: NDArray[np.int64]  # (M,) which of the scenario's tracks each is, -1 for padding
    arc: Singles  # (T, M) [m] along the way that each object was recorded on
    moves: Bools  # (M,) whether that way is longer than a metre
    path: Singles  # (P, 2) the route's centre line, one point a metre
    path_heading: Singles  # (P,)
    path_limit: Singles  # (P,) [m/s]
    path_valid: Bools  # (P,)
    path_on_route: Bools  # (P,)
    path_light: NDArray[np.int64]  # (P,) column of `red`, NO_LIGHT where none
    red: Bools  # (T, MAX_LIGHTS) whether a light is red
    pieces: Singles  # (L, 10, 2) pieces of lane centre lines
    piece_valid: Bools  # (L,)
    piece_limit: Singles  # (L,) [m/s]
    piece_on_route: Bools  # (L,)
    piece_light: NDArray[np.int64]  # (L,)
    grid: NDArray[np.int8]  # (G, G) signed distance to the drivable area in GRID_UNIT, negative inside; [y, x]
    grid_origin: Singles  # (2,) position of node [0, 0]
    expert_progress: Singles  # () [m] along the path in the whole scenario


def compile_scenario(scenario: Scenario, max_agents: int = 32) -> ScenarioArrays:
    """Pad and tabulate. Of more than `max_agents` objects, those nearest to the expert are kept.

    Raises ValueError where the scenario has no route on its map, or more traffic lights than there is room for.
    """
    span = scenario.iterations
    ego = scenario.ego[span].copy()
    origin = ego[0, :2].copy()
    path = route_path(scenario.map, scenario.route, ego[0, :3], PATH_LENGTH, PATH_STEP)
    grid, grid_origin = distance_grid(scenario, path, origin)
    ego[:, :2] -= origin
    light_of = {name: column for column, name in enumerate(scenario.lights.connector_ids)}
    if len(light_of) > MAX_LIGHTS:
        raise ValueError(
            f"scenario {scenario.token} has {len(light_of)} traffic lights; there is room for {MAX_LIGHTS}"
        )
    red = (scenario.lights.status[span] == TrafficLightStatus.RED) & (scenario.lights.status[span] != NO_REPORT)
    return ScenarioArrays(
        origin=origin,
        length=np.asarray(scenario.num_iterations),
        ego=ego.reshape(-1, STATE_SIZE).astype(np.float32),
        **compile_tracks(scenario, origin, max_agents),
        **compile_path(scenario, path, origin, light_of),
        red=padded(red, MAX_LIGHTS, axis=1),
        **compile_pieces(scenario, path, origin, light_of, MAX_PIECES),
        grid=grid,
        grid_origin=grid_origin,
        expert_progress=np.asarray(progress_along(path, scenario.ego[span]), np.float32),
    )


def compile_tracks(scenario: Scenario, origin: Floats, max_agents: int) -> dict[str, NDArray]:
    """The objects that come nearest to the expert, over the iterations."""
    span, log = scenario.iterations, scenario.tracks
    boxes, valid = log.boxes[span].copy(), log.valid[span]
    distance = np.hypot(*np.moveaxis(boxes[..., :2] - scenario.ego[span, None, :2], -1, 0))
    closest = np.where(valid, distance, np.inf).min(0, initial=np.inf)
    kept = np.argsort(closest, kind="stable")[:max_agents]
    kept = kept[np.isfinite(closest[kept])]
    boxes[..., :2] -= origin
    there = valid[:, kept]
    step = np.hypot(*np.moveaxis(np.diff(boxes[:, kept, :2], axis=0), -1, 0)) * (there[1:] & there[:-1])
    arc = np.concatenate([np.zeros_like(step[:1]), np.cumsum(step, 0)])
    return {
        "arc": padded(arc.astype(np.float32), max_agents, axis=1),
        "moves": padded(arc[-1] > 1.0, max_agents),
        "boxes": padded(boxes[:, kept].astype(np.float32), max_agents, axis=1),
        "velocities": padded(np.nan_to_num(log.velocities[span][:, kept]).astype(np.float32), max_agents, axis=1),
        "valid": padded(valid[:, kept], max_agents, axis=1),
        "track": padded(kept.astype(np.int64), max_agents, fill=-1),
        "types": padded(log.types[kept].astype(np.int64), max_agents, fill=TrackedObjectType.GENERIC_OBJECT),
    }


def compile_path(scenario: Scenario, path: RoutePath, origin: Floats, light_of: dict[str, int]) -> dict[str, NDArray]:
    edges = [scenario.map.edges[edge] for edge in path.edges]
    lights = np.array([light_of.get(edge.id, NO_LIGHT) if edge.is_connector else NO_LIGHT for edge in edges])
    return {
        "path": padded((path.points - origin).astype(np.float32), PATH_POINTS, repeat=True),
        "path_heading": padded(path.headings.astype(np.float32), PATH_POINTS, repeat=True),
        "path_limit": padded(path.limits.astype(np.float32), PATH_POINTS, repeat=True),
        "path_valid": padded(np.ones(len(path.points), bool), PATH_POINTS),
        "path_on_route": padded(path.on_route, PATH_POINTS),
        "path_light": padded(lights.astype(np.int64), PATH_POINTS, fill=NO_LIGHT),
    }


def compile_pieces(
    scenario: Scenario, path: RoutePath, origin: Floats, light_of: dict[str, int], max_pieces: int
) -> dict[str, NDArray]:
    """Centre lines of all lanes and connectors near the path, cut into pieces of 18 m; the nearest ones are kept."""
    pieces = lane_pieces(scenario.map, scenario.route, path, max_pieces)
    edges = [scenario.map.edges[edge] for edge in pieces.edges]
    lights = np.array([light_of.get(edge.id, NO_LIGHT) if edge.is_connector else NO_LIGHT for edge in edges])
    return {
        "pieces": padded((pieces.points - origin).astype(np.float32), max_pieces),
        "piece_valid": padded(np.ones(len(pieces.edges), bool), max_pieces),
        "piece_limit": padded(pieces.limits.astype(np.float32), max_pieces),
        "piece_on_route": padded(pieces.on_route, max_pieces),
        "piece_light": padded(lights.astype(np.int64), max_pieces, fill=NO_LIGHT),
    }


def distance_grid(scenario: Scenario, path: RoutePath, origin: Floats) -> tuple[NDArray[np.int8], Singles]:
    """Signed distance to the drivable area and lanes around the first 250 m of the path, as `ScenarioArrays.grid`.

    The polygons are drawn four times finer than the grid and the distance transform taken there: what is lost is at
    most 9 cm, and `tests` hold it against the exact polygons.
    """
    reach = np.concatenate([path.points[: int(250 / PATH_STEP)], scenario.ego[scenario.iterations, :2]])
    centre = (reach.min(0) + reach.max(0)) / 2
    corner = centre - GRID_SIZE * GRID_STEP / 2
    fine = GRID_SIZE * GRID_OVERSAMPLE
    scale = GRID_OVERSAMPLE / GRID_STEP  # [pixel/m]
    image = np.zeros((fine, fine), np.uint8)
    window = shapely.box(*corner, *(corner + GRID_SIZE * GRID_STEP))
    layers = (scenario.map.drivable_area, scenario.map.lane_layer, scenario.map.connector_layer)
    for layer in layers:
        for index in layer.intersecting(window):
            draw_polygon(image, layer.polygons[index], corner, scale)
    outside = cv2.distanceTransform(1 - image, cv2.DIST_L2, cv2.DIST_MASK_5)
    inside = cv2.distanceTransform(image, cv2.DIST_L2, cv2.DIST_MASK_5)
    signed = np.where(image == 1, 0.5 - inside, outside - 0.5) / scale  # to the border, not to the next pixel
    nodes = signed[::GRID_OVERSAMPLE, ::GRID_OVERSAMPLE]
    units = np.clip(np.round(nodes / GRID_UNIT), -127, 127).astype(np.int8)
    return units, (corner + 0.5 / scale - origin).astype(np.float32)


def draw_polygon(image: NDArray[np.uint8], polygon: shapely.Geometry, corner: Floats, scale: float) -> None:
    """Fill a polygon (or several) with ones; holes stay. Pixel centres lie at (i + 0.5) / scale from the corner."""
    for part in shapely.get_parts(polygon):
        rings = [part.exterior, *part.interiors]
        shift = 6  # fixed-point bits of OpenCV's coordinates
        drawn = [(shapely.get_coordinates(ring) - corner) * scale - 0.5 for ring in rings]
        contours = [np.round(points * 2**shift).astype(np.int32) for points in drawn]
        cv2.fillPoly(image, contours, 1, cv2.LINE_8, shift)


def progress_along(path: RoutePath, ego: Floats) -> float:
    """[m] between the projections of the expert's first and last position on the path."""
    line = shapely.LineString(path.points)
    ends = shapely.line_locate_point(line, shapely.points(ego[[0, -1], :2]))
    return float(max(0.0, ends[1] - ends[0]))


def padded(array: NDArray, size: int, axis: int = 0, fill: float = 0, repeat: bool = False) -> NDArray:
    """Lengthen an axis to `size` with `fill`, or with its last entry; cut where it is longer."""
    array = np.take(array, np.arange(min(size, array.shape[axis])), axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size - array.shape[axis])
    if repeat and array.shape[axis]:
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, constant_values=fill)
