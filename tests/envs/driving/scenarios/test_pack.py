"""Scenario packs: what is saved comes back, and damage is named."""

import json
import zipfile

import numpy as np
import pytest

from embodia.envs.driving.scenarios.pack import PackError, load_pack, save_pack
from embodia.envs.driving.types import TrafficLightStatus
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on


@pytest.fixture
def scenarios(road_map):
    frames = [join(car("x", 30 + k), car("y", 60)) if k < 20 else car("y", 60 - k) for k in range(41)]
    lights = [{"7": TrafficLightStatus.RED} if k < 30 else {} for k in range(41)]
    first = scenario_on(road_map, ego_history(10), frames, lights)
    return [first, scenario_on(road_map, ego_history(50, speed=3.0), token="b" * 16)]


def test_round_trip(tmp_path, scenarios):
    save_pack(tmp_path / "s.pack", scenarios)
    pack = load_pack(tmp_path / "s.pack")
    assert pack.tokens == ["a" * 16, "b" * 16]
    assert pack[0].map is pack[1].map, "scenarios of one map share it"
    for saved, loaded in zip(scenarios, pack, strict=True):
        np.testing.assert_array_equal(saved.ego, loaded.ego)
        np.testing.assert_array_equal(saved.time_us, loaded.time_us)
        assert (saved.route, saved.goal, saved.type, saved.start) == (
            loaded.route, loaded.goal, loaded.type, loaded.start,
        )  # fmt: skip
        for iteration in (0, 19, 20, 40):
            before, after = saved.tracks_at(iteration), loaded.tracks_at(iteration)
            assert before.tokens == after.tokens
            np.testing.assert_array_equal(before.boxes, after.boxes)
            assert saved.lights_at(iteration) == loaded.lights_at(iteration)


def test_maps_come_back_whole(tmp_path, scenarios):
    save_pack(tmp_path / "s.pack", scenarios)
    saved, loaded = scenarios[0].map, load_pack(tmp_path / "s.pack")[0].map
    assert saved.outgoing == loaded.outgoing
    assert saved.block_outgoing == loaded.block_outgoing
    for a, b in zip(saved.edges, loaded.edges, strict=True):
        assert (a.id, a.speed_limit, a.roadblock_id, a.stop_polygon_ids) == (
            b.id, b.speed_limit, b.roadblock_id, b.stop_polygon_ids,
        )  # fmt: skip
        assert a.polygon.equals_exact(b.polygon, 0)
        np.testing.assert_array_equal(a.left_boundary.points, b.left_boundary.points)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_pack_names_the_file(tmp_path, scenarios, share):
    path = tmp_path / "s.pack"
    save_pack(path, scenarios)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PackError, match=r"s\.pack"):
        load_pack(path)


def test_a_damaged_entry_is_named(tmp_path, scenarios):
    path = tmp_path / "s.pack"
    save_pack(path, scenarios)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("scenario1/ego.npy").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 80 : offset + 90] = b"\xff" * 10
    path.write_bytes(content)
    pack = load_pack(path)
    assert pack[0].token == "a" * 16, "the other scenario can still be read"
    with pytest.raises(PackError, match="scenario1/ego"):
        pack[1]


def test_a_foreign_or_newer_pack_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pack", "w") as archive:
        archive.writestr("pack.json", json.dumps({"format": "embodia-scenario-pack", "version": 99}))
    with pytest.raises(PackError, match="version 99"):
        load_pack(tmp_path / "x.pack")
    with pytest.raises(FileNotFoundError):
        load_pack(tmp_path / "nothing.pack")
