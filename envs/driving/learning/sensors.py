"""Camera and laser scanner as observations of N driving worlds, and labelled images of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.envs import Observation
from embodia.envs.drawing.camera_geometry import intrinsics
from embodia.envs.drawing.labels import LabelledImage, upright_object
from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.pool import Recent
from embodia.envs.driving.sensors.camera import FAR, RoadCamera, RoadPainter, Traffic
from embodia.envs.driving.sensors.laser import LaserScanner, scan
from embodia.envs.driving.sensors.roadside import Roadside
from embodia.envs.driving.sensors.solids import CATEGORIES, FIRST_TRACK, Category, track_categories, track_solids

CAMERA_KEYS = ("rgb", "depth", "semantic", "instance")
LASER_KEYS = ("laser", "laser_id")
SENSOR_KEYS = (*CAMERA_KEYS, *LASER_KEYS)
MAX_ID = 2**24
KEPT = 8  # scenarios whose surroundings stay in memory (at least one per world), about 30 MB each


class RoadSensors:
    """The sensors of N egos.

    Args:
        keys: Chosen keys of SENSOR_KEYS.
        num_envs: Number of worlds.
        camera_height: Height of an image [pixels].
        camera_width: Width of an image [pixels].
        camera_hfov: Horizontal field of view [deg].
        laser_azimuths: Number of directions of the laser scanner.
        laser_elevations: Elevations of its beams [deg].
        laser_range: Maximum range [m].
        laser_height: Height of the scanner above the ground [m].
        laser_edges: Whether the edge of the drivable area returns beams, as a wall would.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        keys: Sequence[str],
        num_envs: int,
        camera_height: int = 96,
        camera_width: int = 128,
        camera_hfov: float = 90.0,
        laser_azimuths: int = 360,
        laser_elevations: Sequence[float] = (0.0,),
        laser_range: float = 80.0,
        laser_height: float = 1.0,
        laser_edges: bool = False,
    ):
        self.keys, self.laser_edges = tuple(keys), laser_edges
        self.camera = RoadCamera(camera_height, camera_width, camera_hfov)
        self.laser = LaserScanner(laser_azimuths, tuple(laser_elevations), laser_range, laser_height)
        self.painter = RoadPainter(camera_height, camera_width, camera_hfov)
        self.roadsides: Recent[Roadside] = Recent(max(KEPT, num_envs))  # by scenario

    def space(self) -> dict[str, spaces.Space[Any]]:
        """Return the spaces of the chosen keys."""
        image, beams = (self.camera.height, self.camera.width), self.laser.shape
        boxes: dict[str, spaces.Space[Any]] = {
            "rgb": spaces.Box(0, 255, (*image, 3), np.uint8),
            "depth": spaces.Box(0.0, FAR, (*image, 1), np.float32),
            "semantic": spaces.Box(0, len(CATEGORIES) - 1, (*image, 1), np.int32),
            "instance": spaces.Box(0, MAX_ID, (*image, 1), np.int32),
            "laser": spaces.Box(0.0, self.laser.max_range, beams, np.float32),
            "laser_id": spaces.Box(0, MAX_ID, beams, np.int32),
        }
        return {key: boxes[key] for key in self.keys}

    def observe(self, drives: Drives) -> Observation:
        """Return the readings (N, ...) of the chosen keys."""
        if not self.keys:
            return {}
        egos = drives.worlds.ego.cpu().double().numpy()
        traffic = traffic_of(drives)
        roadsides = [self.roadside(drives, i) for i in range(len(egos))]
        seen: Observation = {}
        if set(self.keys) & set(CAMERA_KEYS):
            seen |= self.painter.draw(roadsides, traffic, self.camera.mounted(egos))
        if set(self.keys) & set(LASER_KEYS):
            seen["laser"], seen["laser_id"] = self._scan(egos, roadsides, traffic)
        return {key: seen[key] for key in self.keys}

    def roadside(self, drives: Drives, i: int) -> Roadside:
        """Return the static surroundings of world i, made once for a scenario."""
        return self.roadsides.get(drives.number_of(i), lambda: Roadside(drives.scenario_of(i)))

    def labels(
        self, drives: Drives, worlds: Sequence[int], camera_to_world: NDArray[Any] | None = None
    ) -> list[LabelledImage]:
        """Draw and label the view of each of the chosen worlds.

        Args:
            drives: The drives.
            worlds: Numbers of n worlds.
            camera_to_world: Poses (n, 4, 4) in map coordinates, z up; None for the camera on the ego.

        Raises:
            ValueError: If poses are not finite or have another shape.
        """
        traffic = traffic_of(drives)
        shown, roadsides = [traffic[i] for i in worlds], [self.roadside(drives, i) for i in worlds]
        origins = np.array([roadside.origin for roadside in roadsides]).reshape(-1, 2)
        if camera_to_world is None:
            local = self.camera.mounted(drives.worlds.ego.cpu().double().numpy()[list(worlds)])
        else:
            local = np.array(camera_to_world, np.float64)
            if local.shape != (len(worlds), 4, 4) or not np.isfinite(local).all():
                raise ValueError(f"labels: {len(worlds)} worlds need finite poses ({len(worlds)}, 4, 4)")
            local[:, :2, 3] -= origins
        images = self.painter.draw(roadsides, shown, local)
        return [
            self._labelled({name: image[k] for name, image in images.items()}, roadsides[k], shown[k], pose)
            for k, pose in enumerate(local)
        ]

    def _labelled(self, images: Observation, roadside: Roadside, traffic: Traffic, pose: NDArray[Any]) -> LabelledImage:
        solids = np.concatenate([traffic.solids, roadside.solids])
        solids[:, :2] += roadside.origin
        kinds = [*traffic.categories.tolist(), *[Category.BUILDING] * len(roadside.solids)]
        ids = [*traffic.ids.tolist(), *roadside.solid_ids.tolist()]
        in_map = pose.copy()
        in_map[:2, 3] += roadside.origin
        return LabelledImage(
            rgb=images["rgb"],
            depth=images["depth"][..., 0],
            instance=images["instance"][..., 0],
            category=images["semantic"][..., 0],
            categories=CATEGORIES,
            objects=tuple(upright_object(i, CATEGORIES[kind], each) for i, kind, each in zip(ids, kinds, solids)),
            intrinsics=intrinsics(self.camera.height, self.camera.width, self.camera.hfov),
            camera_to_world=in_map,
        )

    def _scan(
        self, egos: NDArray[Any], roadsides: Sequence[Roadside], traffic: Sequence[Traffic]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        solids, solid_ids = _padded(
            [np.concatenate([here.solids, each.solids]) for here, each in zip(roadsides, traffic)],
            [np.concatenate([here.solid_ids, each.ids]) for here, each in zip(roadsides, traffic)],
        )
        none = np.zeros((0, 5)), np.zeros(0, np.int64)
        edges = [(here.edges, here.edge_ids) if self.laser_edges else none for here in roadsides]
        walls, wall_ids = _padded([wall for wall, _ in edges], [ids for _, ids in edges])
        return scan(self.laser, self.laser.mounted(egos), solids, solid_ids, walls, wall_ids)


def traffic_of(drives: Drives) -> list[Traffic]:
    """Return the objects of every world now, in its scenario's own frame."""
    worlds, arrays = drives.worlds, drives.arrays
    boxes, valid = worlds.boxes.cpu().double().numpy(), worlds.valid.cpu().numpy()
    types, track = (each[worlds.scenario].cpu().numpy() for each in (arrays.types, arrays.track))
    found = []
    for i, there in enumerate(valid):
        kinds = types[i, there]
        ids = FIRST_TRACK + track[i, there]
        found.append(Traffic(track_solids(kinds, boxes[i, there]), track_categories(kinds), ids))
    return found


def _padded(rows: Sequence[NDArray[Any]], ids: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Stack N arrays (n, k) with ids (n,) of different lengths; padding has the id 0."""
    longest = max(len(each) for each in rows)
    wide, names = np.zeros((len(rows), longest, rows[0].shape[1])), np.zeros((len(rows), longest), np.int64)
    for i, (each, name) in enumerate(zip(rows, ids)):
        wide[i, : len(each)], names[i, : len(each)] = each, name
    return wide, names
