import numpy as np
import pytest

from embodia.perception.mapping.depth_mapper import (
    DepthMapper,
    DepthMapperConfig,
    intersection_over_union,
    labels,
    navigable,
    occupied,
    open_floor,
)
from embodia.perception.mapping.planar_poses import camera_matrices
from embodia.tests.perception.mapping.rooms import CHEST, floor_cells, room_depth

MAPPER = DepthMapper(DepthMapperConfig(side=12.0))


def walk(mapper, poses, boxes=(), **more):
    """The map of one world after images at planar poses."""
    map = mapper.initial(1)
    for pose in camera_matrices(poses, 1.25):
        map = mapper.update(map, {"depth": room_depth(pose, boxes)[None], **more}, pose[None])
    return map


def turning(x, z, count=18):
    return np.array([[x, z, angle] for angle in np.arange(count) * 2 * np.pi / count])


def test_a_wall_at_two_metres_lands_in_its_cell():
    pose = camera_matrices([[0.0, 0.01, 0.0]], 1.25)
    depth = np.full((1, 33, 33), 2.0)
    map = MAPPER.update(MAPPER.initial(1), {"depth": depth}, pose)[0]
    row, column = MAPPER.layout.cells_of([0.01, -1.99])
    assert occupied(map)[row, column]
    assert not occupied(map)[row + 1 :].any()
    assert not occupied(map)[: row - 1].any()
    assert open_floor(map)[row + 2 : row + 18, column].all()  # the image ends above the floor nearer than 1 m


def test_a_chest_stands_where_it_is_and_the_rest_is_floor():
    map = walk(MAPPER, np.concatenate([turning(0, 0), turning(2.3, 2.3), turning(0, 3)]), [CHEST])[0]
    truth = floor_cells(MAPPER.layout, [CHEST])
    assert intersection_over_union(open_floor(map), truth) > 0.95
    x, z = np.moveaxis(MAPPER.layout.places_of(np.argwhere(occupied(map))), -1, 0)
    inside = (np.abs(x) < 2.9) & (z > -1.9) & (z < 3.9)
    assert x[inside].min() == pytest.approx(1.0, abs=0.06)
    assert x[inside].max() == pytest.approx(1.6, abs=0.06)
    row, column = MAPPER.layout.cells_of([1.3, 0.9])
    assert map[row, column, 3] == pytest.approx(0.8, abs=1e-3)
    assert navigable(map, 0.1, 0.05).sum() < open_floor(map).sum()


def test_golden_map():
    """The numbers of images and cells of a fixed walk, as they were when the map was first checked against a room."""
    map = walk(MAPPER, [[0.0, 0.0, 0.1], [0.4, 0.3, -0.4], [0.5, 1.0, -1.9]], [CHEST])[0]
    assert map[..., :3].sum((0, 1)).tolist() == [476.0, 3487.0, 4757.0]
    assert occupied(map).sum() == 443


def test_a_batch_equals_its_worlds_alone():
    poses = camera_matrices([[0.0, 0.0, 0.3], [-1.0, 2.0, 2.0], [0.5, -1.0, -1.0]], 1.25)
    depth = np.stack([room_depth(pose, [CHEST]) for pose in poses])
    together = MAPPER.update(MAPPER.initial(3), {"depth": depth}, poses)
    for i in range(3):
        alone = MAPPER.update(MAPPER.initial(1), {"depth": depth[i : i + 1]}, poses[i : i + 1])
        np.testing.assert_array_equal(together[i], alone[0])


def test_categories_are_counted_where_they_are():
    mapper = DepthMapper(DepthMapperConfig(side=12.0, categories=("wall", "chest")))
    pose = camera_matrices([[0.0, 0.9, -np.pi / 2]], 1.25)  # looking at the chest
    bare, depth = room_depth(pose[0]), room_depth(pose[0], [CHEST])
    seen = np.where(depth < bare - 1e-6, 2, 0)[None, ..., None]
    map = mapper.update(mapper.initial(1), {"depth": depth[None], "category": seen}, pose)[0]
    x, z = np.moveaxis(mapper.layout.places_of(np.argwhere(labels(map) == 2)), -1, 0)
    assert len(x) > 50
    assert (x >= 0.97).all() and (x <= 1.63).all() and (z >= 0.47).all() and (z <= 1.33).all()  # noqa: PT018
    assert not (labels(map) == 1).any()


@pytest.mark.parametrize("nothing", [0.0, np.nan, np.inf])
def test_an_image_without_readings_marks_only_the_body(nothing):
    map = MAPPER.update(MAPPER.initial(1), {"depth": np.full((1, 8, 8), nothing)}, camera_matrices([[0, 0, 0.0]], 1.25))
    assert not occupied(map).any()
    assert 0 < open_floor(map).sum() < 30


def test_clipped_readings():
    """Up to the shortest reading there may be anything; from the longest on there is no surface."""
    mapper = DepthMapper(DepthMapperConfig(shortest=0.5, longest=5.0, side=12.0))
    pose = camera_matrices([[0.0, 0.0, 0.0]], 0.88)
    near = mapper.update(mapper.initial(1), {"depth": np.full((1, 9, 9), 0.5)}, pose)
    far = mapper.update(mapper.initial(1), {"depth": np.full((1, 9, 9), 5.0)}, pose)
    assert not occupied(near).any()
    assert not occupied(far).any()
    row, column = mapper.layout.cells_of([0.01, -4.5])
    assert open_floor(far)[0, row, column]
    assert not open_floor(near)[0, row, column]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": np.full((1, 4, 4), -1.0)}, "depth of world 0 at row 0, column 0 is -1"),
        ({"depth": np.ones((2, 4, 4))}, r"depth has shape \(2, 4, 4\); 1 maps need"),
        ({"depth": np.ones((1, 4, 4)), "category": np.full((1, 4, 4), 3)}, "category ids are 3 to 3; 0 to 1 are known"),
        ({"depth": np.ones((1, 4, 4)), "category": np.ones((1, 2, 2))}, "must have the same shape"),
    ],
)
def test_wrong_images_are_errors(wrong, message):
    mapper = DepthMapper(DepthMapperConfig(categories=("chair",), side=4.0))
    with pytest.raises(ValueError, match=message):
        mapper.update(mapper.initial(1), wrong, camera_matrices([[0, 0, 0.0]], 1.25))


def test_wrong_poses_are_errors():
    with pytest.raises(ValueError, match="not a rigid motion"):
        MAPPER.update(MAPPER.initial(1), {"depth": np.ones((1, 4, 4))}, np.full((1, 4, 4), np.nan))
    with pytest.raises(ValueError, match="1 maps need"):
        MAPPER.update(MAPPER.initial(1), {"depth": np.ones((1, 4, 4))}, np.stack([np.eye(4)] * 2))


def test_a_camera_outside_its_map_changes_nothing_and_breaks_nothing():
    map = MAPPER.update(MAPPER.initial(1), {"depth": np.ones((1, 8, 8))}, camera_matrices([[90.0, 0, 0.0]], 1.25))
    assert not map.any()
