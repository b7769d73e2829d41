"""Bird's-eye pictures of a drive: the road with its markings, lights, agents, the route, the plan and the driven path.

The map is painted once on a canvas; a frame cuts the view out of it and draws what moves on top, anti-aliased.
Colours are RGB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.map.road_map import Lane, Map
from embodia.envs.driving.metrics.closed_loop_scores import ScenarioScore
from embodia.envs.driving.metrics.collision import TTC_BOUND
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import History
from embodia.envs.driving.types import Floats, Insight, TrackedObjectType, Tracks, TrafficLights, TrafficLightStatus
from embodia.envs.driving.vehicle.bicycle import ego_boxes

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

GROUND: Color = (232, 235, 226)
WALKWAY: Color = (214, 211, 204)
ASPHALT: Color = (148, 152, 158)
JUNCTION: Color = (142, 146, 152)
SHOULDER: Color = (162, 165, 169)
PARKING: Color = (170, 166, 158)
MARKING: Color = (246, 246, 244)
CENTER_LINE: Color = (240, 190, 60)
KERB: Color = (118, 121, 126)
ROUTE: Color = (120, 190, 150)
EGO: Color = (232, 96, 32)
PLAN: Color = (255, 200, 40)
DRIVEN: Color = (150, 40, 20)
OUTLINE: Color = (45, 48, 54)
INK: Color = (52, 56, 62)
PAPER: Color = (250, 250, 248)
AGENTS: dict[int, Color] = {
    TrackedObjectType.VEHICLE: (62, 108, 178),
    TrackedObjectType.PEDESTRIAN: (206, 52, 108),
    TrackedObjectType.BICYCLE: (22, 150, 140),
    TrackedObjectType.TRAFFIC_CONE: (242, 130, 30),
    TrackedObjectType.BARRIER: (200, 110, 40),
    TrackedObjectType.CZONE_SIGN: (220, 150, 40),
    TrackedObjectType.GENERIC_OBJECT: (120, 96, 82),
}
STANDING: Color = (128, 142, 164)  # vehicles that do not move
LIGHTS: dict[int, Color] = {
    TrafficLightStatus.GREEN: (60, 190, 90),
    TrafficLightStatus.YELLOW: (245, 200, 50),
    TrafficLightStatus.RED: (222, 52, 48),
}
SHIFT = 4  # bits of sub-pixel precision
CANVAS_SCALE = 8.0  # [px/m]
MARGIN = 8.0  # [m] of canvas around what can be seen
LIGHT_LENGTH = 4.5  # [m] of a connector that shows its light


@dataclass(frozen=True)
class View:
    """What a frame shows: `metres` across its width, the ego's heading up (or north), the ego below the middle."""

    width: int = 640
    height: int = 640
    metres: float = 90.0
    heading_up: bool = True
    ego_at: float = 0.64  # [0, 1] of the height, from above

    @property
    def scale(self) -> float:
        """[px/m]"""
        return self.width / self.metres

    def transform(self, pose: Floats) -> Floats:
        """(2, 3) from map coordinates to pixels, the pose (>= 3,) at its place in the picture."""
        turn = np.pi / 2 - pose[2] if self.heading_up else 0.0
        c, s = np.cos(turn) * self.scale, np.sin(turn) * self.scale
        linear = np.array([[c, -s], [-s, -c]])
        place = np.array([self.width / 2, self.height * self.ego_at])
        return np.column_stack([linear, place - linear @ pose[:2]])


class BirdsEye:
    """Draws frames of one map around the places that `around` (n, >= 2) will visit."""

    def __init__(self, road_map: Map, around: Floats, route: Sequence[str] = (), view: View | None = None):
        self.map, self.view = road_map, view or View()
        reach = np.hypot(self.view.width, self.view.height) / self.view.scale + MARGIN
        low, high = around[:, :2].min(axis=0) - reach, around[:, :2].max(axis=0) + reach
        # a canvas twice as fine as the view is as fine as one can see
        scale = min(CANVAS_SCALE, 2 * self.view.scale)
        size = np.ceil((high - low) * scale).astype(int)
        self.scale = scale
        # canvas pixels from map coordinates: x to the right, y up
        self.to_canvas = scale * np.array([[1, 0, -low[0]], [0, -1, high[1]]])
        self.canvas: Image = np.full((size[1], size[0], 3), GROUND, np.uint8)
        self._paint(route)

    # The map, once

    def _paint(self, route: Sequence[str]) -> None:
        road_map = self.map
        for layer, color in (
            (road_map.walkways, WALKWAY),
            (road_map.carparks, PARKING),
            (road_map.generic_drivable_areas, SHOULDER),
            (road_map.road_segments, ASPHALT),
            (road_map.intersections, JUNCTION),
        ):
            for polygon in layer.polygons:
                self._fill(polygon, color)
        for block in road_map.roadblocks:
            self._fill(block.polygon, ASPHALT)
        self._kerbs()
        self._paint_route(route)
        self._bays()
        for edge in range(road_map.num_lanes):
            self._markings(edge)
        for polygon in road_map.crosswalks.polygons:
            self._zebra(polygon)
        self._stop_lines()

    def _fill(self, polygon: Any, color: Color) -> None:
        for part in shapely.get_parts(polygon):
            rings = [part.exterior, *part.interiors]
            points = [fixed(apply(self.to_canvas, shapely.get_coordinates(ring))) for ring in rings]
            cv2.fillPoly(self.canvas, points, color, cv2.LINE_AA, SHIFT)

    def _line(self, points: Floats, color: Color, metres: float) -> None:
        thickness = max(round(metres * self.scale), 1)
        cv2.polylines(self.canvas, [fixed(apply(self.to_canvas, points))], False, color, thickness, cv2.LINE_AA, SHIFT)

    def _kerbs(self) -> None:
        area = shapely.union_all([shapely.buffer(p, 0.05) for p in self.map.drivable_area.polygons])
        for part in shapely.get_parts(area):
            for ring in (part.exterior, *part.interiors):
                self._line(shapely.get_coordinates(ring), KERB, 0.22)

    def _paint_route(self, route: Sequence[str]) -> None:
        clean = self.canvas.copy()
        for block_id in route:
            block = self.map.block(block_id)
            if block is not None:
                self._fill(self.map.blocks[block].polygon, ROUTE)
        self.canvas = np.asarray(cv2.addWeighted(self.canvas, 0.3, clean, 0.7, 0.0), np.uint8)

    def _bays(self) -> None:
        """Outlines of kerbside parking."""
        for polygon in self.map.carparks.polygons:
            self._line(shapely.get_coordinates(polygon.exterior), MARKING, 0.1)

    def _markings(self, edge: int) -> None:
        """Dashes between lanes, a solid edge line to the right, a yellow line (or the median's edge) to the left."""
        lane: Lane = self.map.edges[edge]
        if self.map.right[edge] is None:
            self._line(lane.right_boundary.points, MARKING, 0.14)
        else:
            for start in np.arange(1.5, lane.right_boundary.length - 3, 9.0):
                self._line(lane.right_boundary.point_at(np.linspace(start, start + 3, 4)), MARKING, 0.14)
        if self.map.left[edge] is None:
            self._line(lane.left_boundary.points, CENTER_LINE, 0.18)

    def _zebra(self, polygon: Any) -> None:
        corners = shapely.get_coordinates(polygon.minimum_rotated_rectangle)[:4]
        if np.hypot(*(corners[1] - corners[0])) < np.hypot(*(corners[2] - corners[1])):
            corners = np.roll(corners, -1, axis=0)
        along, length = corners[1] - corners[0], float(np.hypot(*(corners[1] - corners[0])))
        across = corners[3] - corners[0]
        for start in np.arange(0.35, length - 0.5, 1.1):
            ends = corners[0] + along * start / length, corners[0] + along * min(start + 0.55, length) / length
            bar = np.array([ends[0] + 0.06 * across, ends[1] + 0.06 * across, ends[1] + 0.94 * across])
            self._fill(shapely.Polygon([*bar, ends[0] + 0.94 * across]), MARKING)

    def _stop_lines(self) -> None:
        for polygon in self.map.stop_polygons.polygons:
            corners = shapely.get_coordinates(polygon.minimum_rotated_rectangle)[:4]
            if np.hypot(*(corners[1] - corners[0])) < np.hypot(*(corners[2] - corners[1])):
                corners = np.roll(corners, -1, axis=0)
            middle = (corners[[0, 1]] + corners[[3, 2]]) / 2
            self._line(0.97 * middle + 0.03 * middle[::-1], MARKING, 0.4)

    # A frame

    def draw(
        self,
        ego: Floats,
        tracks: Tracks,
        lights: TrafficLights | None = None,
        planned: Floats | None = None,
        driven: Floats | None = None,
        insight: Insight | None = None,
    ) -> Image:
        """(H, W, 3): ego (>= 3,) rear-axle state, planned and driven rear-axle points (n, >= 2), what a planner saw."""
        transform = self.view.transform(ego)
        frame = self._background(transform)
        self._draw_lights(frame, transform, lights or {})
        if insight is not None:
            self._draw_insight(frame, transform, insight)
        if driven is not None and len(driven) > 1:
            stroke(frame, apply(transform, driven[:, :2]), DRIVEN, self._pixels(0.35))
        self._draw_tracks(frame, transform, tracks)
        if planned is not None and len(planned) > 1:
            self._draw_plan(frame, transform, planned[:, :2])
        self._draw_box(frame, transform, ego_boxes(ego), EGO)
        return frame

    def _background(self, transform: Floats) -> Image:
        """The view's part of the canvas."""
        full = np.vstack([transform, [0, 0, 1]]) @ np.linalg.inv(np.vstack([self.to_canvas, [0, 0, 1]]))
        size = (self.view.width, self.view.height)
        frame = cv2.warpAffine(self.canvas, full[:2], size, flags=cv2.INTER_LINEAR, borderValue=GROUND)
        return np.asarray(frame, np.uint8)

    def _pixels(self, metres: float) -> int:
        return max(round(metres * self.view.scale), 1)

    def _draw_lights(self, frame: Image, transform: Floats, lights: TrafficLights) -> None:
        order = {TrafficLightStatus.RED: 0, TrafficLightStatus.YELLOW: 1, TrafficLightStatus.GREEN: 2}
        for connector, status in sorted(lights.items(), key=lambda item: order.get(item[1], 3)):
            edge = self.map.connector_index.get(connector)
            if edge is None or status not in LIGHTS:
                continue
            points = self.map.edges[edge].baseline.point_at(np.linspace(0.3, LIGHT_LENGTH, 6))
            stroke(frame, apply(transform, points), LIGHTS[status], self._pixels(0.5))

    def _draw_tracks(self, frame: Image, transform: Floats, tracks: Tracks) -> None:
        speeds = np.hypot(tracks.velocities[:, 0], tracks.velocities[:, 1])
        for kind, box, speed in zip(tracks.types.tolist(), tracks.boxes, speeds.tolist()):
            still = kind == TrackedObjectType.VEHICLE and speed < 0.1
            self._draw_box(frame, transform, box, STANDING if still else AGENTS.get(kind, INK), kind)

    def _draw_box(self, frame: Image, transform: Floats, box: Floats, color: Color, kind: int | None = None) -> None:
        """A body with a windscreen; small ones get a rim that keeps them visible."""
        box = box.copy()
        small = kind in (TrackedObjectType.PEDESTRIAN, TrackedObjectType.TRAFFIC_CONE)
        box[3:] = np.maximum(box[3:], 5 / self.view.scale)
        if small:
            center = fixed(apply(transform, box[None, :2]))[0, 0]
            radius = int(max(box[4] / 2 * self.view.scale, 2.5) * 2**SHIFT)
            cv2.circle(frame, center.tolist(), radius, color, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(frame, center.tolist(), radius, PAPER, 1, cv2.LINE_AA, SHIFT)
            return
        corners = fixed(apply(transform, box_corners(box)))
        cv2.fillPoly(frame, [corners], color, cv2.LINE_AA, SHIFT)
        if kind is None or kind == TrackedObjectType.VEHICLE:
            screen = box * [1, 1, 1, 0.16, 0.8]
            ahead = 0.2 * box[3]
            screen[:2] += ahead * np.array([np.cos(box[2]), np.sin(box[2])])
            lighter = tuple(int(0.45 * c + 0.55 * 255) for c in color)
            cv2.fillPoly(frame, [fixed(apply(transform, box_corners(screen)))], lighter, cv2.LINE_AA, SHIFT)
        cv2.polylines(frame, [corners], True, OUTLINE, 1, cv2.LINE_AA, SHIFT)

    def _draw_insight(self, frame: Image, transform: Floats, insight: Insight) -> None:
        """Dots shine through, strokes do not; notes are written in the upper left corner."""
        clean = frame.copy()
        for points, colors, metres in insight.dots:
            radius = max(self._pixels(metres / 2), 1)
            for pixel, color in zip(fixed(apply(transform, points))[:, 0].tolist(), colors.tolist()):
                cv2.circle(frame, pixel, radius << SHIFT, color, -1, cv2.LINE_AA, SHIFT)
        cv2.addWeighted(frame, 0.45, clean, 0.55, 0.0, frame)
        for points, color, metres in insight.strokes:
            stroke(frame, apply(transform, points), color, self._pixels(metres))
        for row, note in enumerate(insight.notes):
            write(frame, note, (8, 18 + 16 * row), INK)

    def _draw_plan(self, frame: Image, transform: Floats, points: Floats) -> None:
        pixels = apply(transform, points)
        stroke(frame, pixels, OUTLINE, self._pixels(0.62))
        stroke(frame, pixels, PLAN, self._pixels(0.4))
        cv2.circle(frame, fixed(pixels[-1:])[0, 0].tolist(), self._pixels(0.5) << SHIFT, PLAN, -1, cv2.LINE_AA, SHIFT)


def apply(transform: Floats, points: Floats) -> Floats:
    """Affine (2, 3) of points (..., 2)."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def fixed(points: Floats) -> NDArray[np.int32]:
    """(n, 1, 2) OpenCV's fixed-point pixels."""
    return np.round(points * 2**SHIFT).astype(np.int32)[:, None]


def stroke(frame: Image, pixels: Floats, color: Color, thickness: int) -> None:
    cv2.polylines(frame, [fixed(pixels)], False, color, thickness, cv2.LINE_AA, SHIFT)


def pale(color: Color) -> Color:
    """A colour on its way to white."""
    r, g, b = (int(0.3 * c + 0.7 * 250) for c in color)
    return r, g, b


def draw_scenario(scenario: Scenario, iteration: int = 0, view: View | None = None) -> Image:
    """The scenario as recorded at an iteration: the expert, its way ahead (yellow) and behind."""
    frames = scenario.ego[scenario.iterations]
    picture = BirdsEye(scenario.map, frames[[iteration]], scenario.route, view)
    now = scenario.tracks_at(iteration), scenario.lights_at(iteration)
    return picture.draw(frames[iteration], *now, frames[iteration : iteration + 81], frames[: iteration + 1])


def draw_history(history: History, score: ScenarioScore | None = None, view: View | None = None) -> Iterator[Image]:
    """Frames (H + strip, W, 3) of a driven history: the scene, and below it speed and time to collision up to now."""
    scenario = history.scenario
    picture = BirdsEye(scenario.map, history.ego, scenario.route, view)
    for k in range(len(history.ego)):
        planned = history.trajectories[k].poses if k < len(history.trajectories) else None
        lights = scenario.lights_at(k)
        frame = picture.draw(history.ego[k], history.tracks[k], lights, planned, history.ego[: k + 1])
        yield np.concatenate([frame, chart(history, score, k, frame.shape[1])])


CHART_HEIGHT = 112
TTC_SHOWN = 5.0  # [s] beyond which time to collision is drawn at the top


def chart(history: History, score: ScenarioScore | None, now: int, width: int) -> Image:
    """A strip (112, W, 3) with the ego's speed, its time to collision and the final scores."""
    strip = np.full((CHART_HEIGHT, width, 3), PAPER, np.uint8)
    speed = np.hypot(history.ego[:, 3], history.ego[:, 4])
    plot_width = int(width * 0.62)
    top = max(float(speed.max()), 5.0) * 1.15
    series = [(speed / top, EGO, f"speed {speed[now]:4.1f} m/s")]
    if score is not None and "time_to_collision" in score.series:
        ttc = np.minimum(score.series["time_to_collision"], TTC_SHOWN)
        label = "inf" if ttc[now] >= TTC_SHOWN else f"{ttc[now]:.1f} s"
        series.append((ttc / (TTC_SHOWN * 1.1), AGENTS[TrackedObjectType.VEHICLE], f"time to collision {label}"))
        level = CHART_HEIGHT - 10 - round(TTC_BOUND / (TTC_SHOWN * 1.1) * (CHART_HEIGHT - 40))
        cv2.line(strip, (12, level), (plot_width, level), (205, 205, 205), 1)
    for row, (values, color, label) in enumerate(series):
        x = 12 + np.arange(len(values)) / (len(values) - 1) * (plot_width - 12)
        y = CHART_HEIGHT - 10 - values * (CHART_HEIGHT - 40)
        line = np.column_stack([x, y])
        stroke(strip, line, pale(color), 1)
        stroke(strip, line[: now + 1], color, 2)
        write(strip, label, (14 + row * plot_width // 2, 18), color)
    write(strip, f"t = {now * 0.1:4.1f} s", (plot_width + 16, 18), INK)
    if score is not None:
        _write_scores(strip, score, plot_width + 16)
    return strip


def _write_scores(strip: Image, score: ScenarioScore, left: int) -> None:
    shown = {"score": "score", "no_ego_at_fault_collisions": "no collision", "drivable_area_compliance": "on the road"}
    shown |= {"ego_progress_along_expert_route": "progress", "ego_is_comfortable": "comfort"}
    for row, (name, label) in enumerate(shown.items()):
        value = float(score.metrics[name])
        mood = TrafficLightStatus.GREEN if value >= 0.99 else TrafficLightStatus.RED
        color = INK if 0.5 < value < 0.99 else LIGHTS[mood]
        write(strip, f"{label} {value:.2f}", (left, 38 + 17 * row), color)


def write(image: Image, text: str, at: tuple[int, int], color: Color, size: float = 0.42) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)


def contact_sheet(images: Sequence[Image], titles: Sequence[str], columns: int = 4) -> Image:
    """Pictures of one size in rows, each under its title."""
    height, width = images[0].shape[:2]
    header, gap = 26, 8
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + header + gap) + gap, columns * (width + gap) + gap, 3), PAPER, np.uint8)
    for k, (image, title) in enumerate(zip(images, titles)):
        top, left = gap + (k // columns) * (height + header + gap), gap + (k % columns) * (width + gap)
        write(sheet, title, (left + 2, top + 18), INK, min(0.5, width / (len(title) * 10.5)))
        sheet[top + header : top + header + height, left : left + width] = image
    return sheet
