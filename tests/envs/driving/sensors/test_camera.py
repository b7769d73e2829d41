"""The camera on roads: depth and masks against geometry, boxes around objects, and the bodies of objects."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
import shapely

from embodia.envs.drawing.camera_geometry import intrinsics, project, unproject
from embodia.envs.driving.sensors.bodies import body, placed
from embodia.envs.driving.sensors.camera import RoadCamera, RoadPainter, Traffic, looking
from embodia.envs.driving.sensors.roadside import Roadside
from embodia.envs.driving.sensors.solids import (
    FIRST_BUILDING,
    FIRST_TRACK,
    GROUND,
    Category,
    track_categories,
    track_solids,
)
from embodia.envs.driving.types import TrackedObjectType
from embodia.tests.envs.driving.road import ego_history, scenario_on, synthetic_road

CAMERA = RoadCamera(60, 80, 90.0)
MOVABLE = list(range(Category.VEHICLE, Category.GENERIC_OBJECT + 1))


@cache
def roadside():
    """A straight road along +x; its frame has the ego's first rear axle, in the right-hand lane, as origin."""
    return Roadside(scenario_on(synthetic_road(), ego_history(30.0)))


def traffic(*rows):
    """Objects (type, x, y, heading, length, width)."""
    table = np.array(rows, float).reshape(-1, 6)
    types = table[:, 0].astype(int)
    return Traffic(track_solids(types, table[:, 1:]), track_categories(types), FIRST_TRACK + np.arange(len(types)))


@cache
def painter():
    return RoadPainter(CAMERA.height, CAMERA.width, CAMERA.hfov)


def draw(objects, pose=(0.0, 0.0, 0.0), camera=CAMERA):
    matrix = camera.mounted(np.array([pose]))
    images = painter().draw([roadside()], [objects], matrix)
    return {name: image[0] for name, image in images.items()}, matrix[0]


def corners_of(solid):
    x, y, heading, length, width, bottom, top = solid
    signs = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (0, 1)], float)
    local = signs * [length / 2, width / 2, top - bottom] + [0, 0, bottom]
    cos, sin = np.cos(heading), np.sin(heading)
    return local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [x, y, 0]


EVERY_KIND = [
    (TrackedObjectType.VEHICLE, 12.0, -4.0, 0.4, 4.6, 1.9),
    (TrackedObjectType.VEHICLE, 25.0, 6.0, 2.0, 9.0, 2.6),
    (TrackedObjectType.PEDESTRIAN, 8.0, 2.0, 1.0, 0.6, 0.7),
    (TrackedObjectType.BICYCLE, 9.0, 0.2, 0.3, 1.8, 0.6),
    (TrackedObjectType.TRAFFIC_CONE, 7.0, -1.0, 0.0, 0.4, 0.4),
    (TrackedObjectType.BARRIER, 16.0, 0.0, 1.5, 2.0, 0.4),
    (TrackedObjectType.CZONE_SIGN, 6.0, 3.0, 3.0, 0.3, 0.8),
    (TrackedObjectType.GENERIC_OBJECT, 14.0, 4.0, 0.6, 1.0, 1.0),
]


def test_projected_boxes_contain_the_pixels_of_objects():
    objects = traffic(*EVERY_KIND)
    images, pose = draw(objects)
    matrix = intrinsics(CAMERA.height, CAMERA.width, CAMERA.hfov)
    instance = images["instance"][..., 0]
    seen = [i for i in objects.ids if (instance == i).any()]
    assert len(seen) >= 6
    for solid, kind, name in zip(objects.solids, objects.categories, objects.ids):
        rows, columns = np.nonzero(instance == name)
        if not len(rows):
            continue
        pixels, depth = project(corners_of(solid), matrix, pose)
        assert (depth > 0).all()
        low, high = pixels.min(0), pixels.max(0)
        assert low[0] - 0.5 <= columns.min() and columns.max() + 1 <= high[0] + 0.5  # noqa: PT018
        assert low[1] - 0.5 <= rows.min() and rows.max() + 1 <= high[1] + 0.5  # noqa: PT018
        assert (images["semantic"][rows, columns, 0] == kind).all()


def test_points_of_objects_lie_in_their_boxes():
    """Depth and pose give back points inside the box of the object that the mask names."""
    objects = traffic(*EVERY_KIND)
    images, pose = draw(objects)
    focal = intrinsics(CAMERA.height, CAMERA.width, CAMERA.hfov)[0, 0]
    points = unproject(images["depth"][..., 0], focal, pose)
    for solid, name in zip(objects.solids, objects.ids):
        found = points[images["instance"][..., 0] == name] - [solid[0], solid[1], (solid[5] + solid[6]) / 2]
        cos, sin = np.cos(solid[2]), np.sin(solid[2])
        local = np.abs(found @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
        assert (local <= np.array([solid[3], solid[4], solid[6] - solid[5]]) / 2 + 0.01).all()


def test_depth_of_the_ground_is_that_of_a_plane():
    images, _ = draw(traffic())
    focal = intrinsics(CAMERA.height, CAMERA.width, CAMERA.hfov)[0, 0]
    row = np.arange(CAMERA.height // 2, CAMERA.height)
    truth = CAMERA.above * focal / (row + 0.5 - CAMERA.height / 2)
    ground = images["instance"][..., 0] == GROUND
    lower = images["depth"][row, :, 0]
    np.testing.assert_allclose(lower[ground[row]], np.repeat(truth, ground[row].sum(1)), rtol=1e-4)
    assert ground[-10:].all()


def test_depth_of_a_building_is_that_of_its_front():
    here = roadside()
    solid = here.solids[0]
    front = solid[:2] + (solid[4] / 2 + 6) * np.array([-np.sin(solid[2]), np.cos(solid[2])])
    pose = looking(np.array([[*front, 2.0]]), solid[2] - np.pi / 2)
    images = painter().draw([here], [traffic()], pose)
    middle = CAMERA.height // 2, CAMERA.width // 2
    assert images["depth"][0, *middle, 0] == pytest.approx(6.0, abs=0.01)
    assert images["instance"][0, *middle, 0] == FIRST_BUILDING
    assert images["semantic"][0, *middle, 0] == Category.BUILDING


def test_categories_of_the_ground():
    """The camera looks down on lane 2 from above: road, markings at the lane's edges, terrain beside the road."""
    pose = looking(np.array([[10.0, 0.0, 12.0]]), 0.0, -np.pi / 2)
    images = painter().draw([roadside()], [traffic()], pose)
    semantic, instance = images["semantic"][0, ..., 0], images["instance"][0, ..., 0]
    points = unproject(images["depth"][0, ..., 0], 40.0, pose[0])
    assert semantic[30, 40] == Category.ROAD
    on_ground = instance == GROUND
    left = points[..., 1]
    road = (left > -1.5) & (left < 4.9)  # the lanes reach from -1.75 to 5.25 in the ego's frame
    beside = (left < -2.3) | (left > 5.8)
    assert np.isin(semantic[on_ground & road], [Category.ROAD, Category.MARKING]).all()
    assert (semantic[on_ground & beside] == Category.TERRAIN).all()
    assert (semantic == Category.MARKING).any()


def test_nearer_objects_hide_those_behind():
    car = TrackedObjectType.VEHICLE
    near, far = (car, 10.0, 0.0, 0.0, 4.8, 2.0), (car, 20.0, 0.0, 0.0, 4.8, 2.0)
    both, _ = draw(traffic(far, near))
    alone, _ = draw(traffic(near))
    covered = alone["instance"] == FIRST_TRACK
    assert (both["instance"][covered] == FIRST_TRACK + 1).all()


def test_the_sky_has_no_depth():
    images, _ = draw(traffic())
    sky = images["instance"] == 0
    assert sky[0, 30:50].all()
    assert (images["depth"][sky] == 0).all()
    assert (images["semantic"][sky] == Category.SKY).all()
    assert images["rgb"][0, 30:50].min() > 100


def test_a_batch_equals_its_scenes_alone():
    several = [traffic(*EVERY_KIND), traffic(), traffic(*EVERY_KIND[:2])]
    poses = CAMERA.mounted(np.array([(0, 0, 0.0), (5, 1, 0.5), (2, 0, -0.3)]))
    together = painter().draw([roadside()] * 3, several, poses)
    for i in range(3):
        alone = painter().draw([roadside()], several[i : i + 1], poses[i : i + 1])
        for name, image in alone.items():
            np.testing.assert_array_equal(image[0], together[name][i])


@pytest.mark.parametrize("category", MOVABLE)
@pytest.mark.parametrize("long", [False, True])
def test_bodies_stay_in_their_boxes_and_face_outwards(category, long):
    found = body(Category(category), long)
    low, high = found.triangles.min((0, 1)), found.triangles.max((0, 1))
    assert (low >= [-0.5, -0.5, 0]).all()
    assert (high <= [0.5, 0.5, 1]).all()
    parts = found.triangles.reshape(-1, 12, 3, 3)
    volume = np.einsum("pfi,pfi->p", parts[:, :, 0], np.cross(parts[:, :, 1], parts[:, :, 2])) / 6
    assert (volume > 0).all(), "clockwise faces"


def test_a_body_is_placed_on_its_box():
    shape, colors = placed(np.array([3.0, -2.0, np.pi / 2, 4.0, 2.0, 0.0, 1.5]), Category.VEHICLE, 12)
    np.testing.assert_allclose(shape.min((0, 1)), [2.0, -4.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(shape.max((0, 1)), [4.0, 0.0, 1.5], atol=1e-9)
    assert len(colors) == len(shape)
    assert colors.min() >= 0


def test_buildings_keep_clear_of_roads_and_of_each_other():
    found = roadside().solids.copy()
    assert len(found) > 3
    plots = [shapely.Polygon(corners_of(each)[[0, 2, 6, 4], :2] + roadside().origin) for each in found]
    road = shapely.union_all(roadside().map.drivable_area.polygons)
    assert min(road.distance(plot) for plot in plots) > 1.9
    assert all(not a.intersects(b) for a, b in combinations(plots, 2))


@pytest.mark.parametrize("options", [{"height": 0}, {"hfov": 180.0}, {"above": -1.0}, {"pitch": 100.0}])
def test_impossible_cameras(options):
    with pytest.raises(ValueError, match="camera"):
        RoadCamera(**options)
