import numpy as np
import pytest

from embodia.perception.mapping import MapLayout
from embodia.perception.mapping.depth_mapper import DepthMapper, DepthMapperConfig
from embodia.perception.mapping.planar_poses import camera_matrices
from embodia.perception.mapping.stored_map import MapError, StoredMap, load_map, merge_maps
from embodia.tests.perception.mapping.rooms import CHEST, room_depth

MAPPER = DepthMapper(DepthMapperConfig(side=12.0))
POSES = [[0.0, 0.0, 0.1], [0.4, 0.3, -0.4], [0.5, 1.0, -1.9], [-1.0, 2.0, 3.0]]


def mapped(poses):
    map = MAPPER.initial(1)
    for pose in camera_matrices(poses, 1.25):
        map = MAPPER.update(map, {"depth": room_depth(pose, [CHEST])[None]}, pose[None])
    return StoredMap(map[0], MAPPER.layout)


def test_a_map_is_read_as_it_was_written(tmp_path):
    kept = mapped(POSES)
    kept.save(tmp_path / "map.npz")
    again = load_map(tmp_path / "map.npz")
    np.testing.assert_array_equal(again.cells, kept.cells)
    assert again.layout == kept.layout


def test_merging_equals_mapping_in_one_go():
    whole, merged = mapped(POSES), merge_maps([mapped(POSES[:1]), mapped(POSES[1:])])
    np.testing.assert_array_equal(merged.cells, whole.cells)
    assert merged.layout == whole.layout


def test_merged_maps_cover_the_area_of_both():
    def patch(corner, value):
        return StoredMap(np.full((2, 2, 1), value, np.float32), MapLayout(("free",), (2, 2), 0.5, corner))

    merged = merge_maps([patch((0.0, 0.0), 1), patch((0.5, -1.0), 2)])
    assert merged.layout.corner == (0.0, -1.0)
    assert merged.cells[..., 0].tolist() == [[0, 2, 2], [0, 2, 2], [1, 1, 0], [1, 1, 0]]


def test_maps_that_do_not_fit_are_errors(tmp_path):
    one = StoredMap(np.zeros((2, 2, 1), np.float32), MapLayout(("free",), (2, 2)))
    with pytest.raises(MapError, match="there is no map"):
        merge_maps([])
    with pytest.raises(MapError, match="differ in channels"):
        merge_maps([one, StoredMap(one.cells, MapLayout(("seen",), (2, 2)))])
    with pytest.raises(MapError, match="not whole cells apart"):
        merge_maps([one, StoredMap(one.cells, MapLayout(("free",), (2, 2), corner=(0.01, 0.0)))])
    (tmp_path / "none.npz").write_bytes(b"nothing")
    with pytest.raises(MapError, match=r"none\.npz is no map"):
        load_map(tmp_path / "none.npz")
