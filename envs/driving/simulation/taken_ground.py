"""The ground that is taken in a scenario: by vehicles and the strips ahead of them, by the ego, by objects."""

from typing import Any

import numpy as np
import shapely

from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.map.rails import place_vehicle
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.simulation.rail_agent import RailAgent
from embodia.envs.driving.simulation.rail_traffic import (
    BARE,
    LIMIT,
    PROGRESS,
    WIDTH,
    cover,
)
from embodia.envs.driving.types import EgoState, Floats, Tracks
from embodia.envs.driving.vehicle.bicycle import IdmParameters, ego_boxes

BUFFER_SEGMENTS = 16  # per quarter circle, as the devkit's buffers have


def flat_buffer(line: Floats, radius: float) -> Any:
    return shapely.buffer(shapely.LineString(line), radius, quad_segs=BUFFER_SEGMENTS, cap_style="flat")


class Ground:
    """The vehicles' table, and the ground that is taken: by them, the ego, replayed objects, in this order of slots."""

    def __init__(self, agents: list[RailAgent], road_map: Map, idm: IdmParameters, snapped: dict[str, Floats]):
        self.agents, self.map, self.idm = agents, road_map, idm
        count = len(agents)
        self.vehicles = np.array([[a.progress, a.v, a.target, 0.0, a.length, a.width] for a in agents]).reshape(-1, 6)
        self.poses = np.array([a.pose for a in agents]).reshape(-1, 3)
        self.path_length = np.zeros(count, np.int64)
        self.path_s, self.path_nodes = np.zeros((count, 0)), np.zeros((count, 0, 3))
        self.strips = np.zeros((count, 2, 2))
        self._make_room(max((len(a.path.s) for a in agents), default=0) + 64)
        self.counts = np.zeros(count, np.int64)
        self.outlines, self.outline_counts = np.zeros((count, 256, 2)), np.full(count, BARE)
        self.corners, self.bounds = np.zeros((count, 4, 2)), np.zeros((count, 4))
        for slot, agent in enumerate(agents):
            self.take_path(slot)
            if agent.token in snapped:
                pose, none = snapped[agent.token], np.zeros((0, 2))
                place_vehicle(pose, agent.length, agent.width, none, self.corners[slot], self.bounds[slot])
            else:
                cover(
                    slot, self.vehicles, self.poses, agent.path.s, agent.path.nodes, self.corners, self.bounds,
                    self.strips, self.counts, self.outlines, self.outline_counts, idm.headway,
                )  # fmt: skip

    def _make_room(self, nodes: int) -> None:
        """For paths of so many nodes."""
        count = len(self.agents)
        s, points, strips = np.zeros((count, nodes)), np.zeros((count, nodes, 3)), np.zeros((count, nodes + 2, 2))
        old = self.path_s.shape[1]
        s[:, :old], points[:, :old], strips[:, : old + 2] = self.path_s, self.path_nodes, self.strips
        self.path_s, self.path_nodes, self.strips = s, points, strips

    def take_path(self, slot: int) -> None:
        """An agent has a path, or another one."""
        agent = self.agents[slot]
        size = len(agent.path.s)
        if size > self.path_s.shape[1]:
            self._make_room(2 * size)
        self.path_length[slot], self.vehicles[slot, PROGRESS] = size, agent.progress
        self.path_s[slot, :size], self.path_nodes[slot, :size] = agent.path.s, agent.path.nodes
        self.vehicles[slot, LIMIT] = self.map.edges[agent.route[-1]].speed_limit or 0.0

    def place(self, ego: EgoState, replayed: Tracks) -> None:
        """Set the ego and the replayed objects of this step."""
        count = len(self.agents)
        corners = box_corners(np.concatenate([ego_boxes(ego.pose)[None], replayed.boxes]))
        bounds = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        self.corners = np.concatenate([self.corners[:count], corners])  # (M, 4, 2)
        self.bounds = np.concatenate([self.bounds[:count], bounds])  # (M, 4)

    def hand_back(self) -> None:
        """Tell the agents where they are."""
        for agent, (progress, v, target), pose in zip(self.agents, self.vehicles[:, :3].tolist(), self.poses.copy()):
            agent.progress, agent.v, agent.target, agent.pose = progress, v, target, pose

    def line(self, slot: int) -> Floats:
        """(k, 2) the rest of an agent's path."""
        path, progress = self.agents[slot].path, float(self.vehicles[slot, PROGRESS])
        return path.after(path.clamp(progress))[:, :2].copy()

    def parts(self, slot: int) -> list[Any]:
        """Polygons that a slot covers together: its box and, for agents, the strip ahead."""
        box = shapely.polygons(self.corners[slot])
        if slot >= len(self.agents) or not self.counts[slot]:
            return [box]
        if self.outline_counts[slot] > 0:
            return [shapely.polygons(self.outlines[slot, : self.outline_counts[slot]]), box]
        return [flat_buffer(self.strips[slot, : self.counts[slot]], self.vehicles[slot, WIDTH] / 2), box]

    def all_parts(self) -> Any:
        """(M,) what every slot covers, as one geometry each."""
        agents = np.flatnonzero(self.counts)
        left = agents[self.outline_counts[agents] <= 0].tolist()  # to GEOS
        ready = agents[self.outline_counts[agents] > 0]
        sizes = self.outline_counts[ready]
        points = np.concatenate([np.zeros((0, 2)), *(self.outlines[i, :n] for i, n in zip(ready, sizes))])
        strips = [
            *shapely.polygons(shapely.linearrings(points, indices=np.repeat(np.arange(len(ready)), sizes))),
            *(flat_buffer(self.strips[i, : self.counts[i]], self.vehicles[i, WIDTH] / 2) for i in left),
        ]
        owners = np.concatenate([ready, np.array(left, np.int64), np.arange(len(self.corners))])
        order = np.argsort(owners, kind="stable")
        parts = np.concatenate([np.array(strips, object), shapely.polygons(self.corners)])
        return shapely.multipolygons(parts[order], indices=owners[order])

    def set_outline(self, slot: int, ring: Floats) -> None:
        if len(ring) > self.outlines.shape[1]:
            wider = np.zeros((len(self.agents), 2 * len(ring), 2))
            wider[:, : self.outlines.shape[1]] = self.outlines
            self.outlines = wider
        self.outlines[slot, : len(ring)], self.outline_counts[slot] = ring, len(ring) or BARE
