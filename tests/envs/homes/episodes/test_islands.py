"""Episodes start inside: not on the roof, not in the garden, and where it is asked for."""

import warnings

import numpy as np
import pytest
import trimesh

from embodia.envs.homes.engines.engine import EmbodiaEngine
from embodia.envs.homes.episodes.dataset import EpisodeError
from embodia.envs.homes.episodes.islands import indoor_island, most_enclosed, survey
from embodia.envs.homes.tasks.navigation import TASKS
from embodia.envs.homes.vector_env import HomesVectorEnv

FLOOR, GARDEN, ROOF = ((0, -0.2, 0), (8, 0, 6)), ((-8, -0.3, -8), (16, -0.1, 14)), ((0, 2.5, 0), (8, 2.7, 6))
WALLS = [
    ((0, 0, 0), (8, 2.5, 0.2)),
    ((0, 0, 5.8), (8, 2.5, 6)),
    ((0, 0, 0), (0.2, 2.5, 6)),
    ((7.8, 0, 0), (8, 2.5, 6)),
    ((4, 0, 0.2), (4.2, 2.5, 2)),
    ((4, 0, 3), (4.2, 2.5, 5.8)),
]
SMALL = {"sensors": ("gps",), "width": 16, "height": 16}


@pytest.fixture
def house(tmp_path):
    """Two rooms with walls, as a .glb; a roof and a garden on demand."""

    def write(roof, garden):
        bounds = [FLOOR, *WALLS] + [ROOF] * roof + [GARDEN] * garden
        mesh = trimesh.util.concatenate([trimesh.creation.box(bounds=each) for each in bounds])
        path = tmp_path / f"house-{roof:d}{garden:d}.glb"
        path.write_bytes(trimesh.Scene(mesh).export(file_type="glb"))
        return str(path)

    return write


def load(path, **options):
    return EmbodiaEngine(TASKS["PointNav"].navmesh, **options).home(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("roof", [True, False])
@pytest.mark.parametrize("garden", [True, False])
@pytest.mark.parametrize("task", ["PointNav", "Exploration"])
def test_every_start_is_indoors(house, task, roof, garden):
    env = HomesVectorEnv(1, task=task, scenes=[house(roof, garden)], **SMALL)
    for seed in range(25):
        env.reset(seed=seed)
        x, y, z = env.poses.position[0]
        assert 0 < x < 8
        assert y < 0.3
        assert 0 < z < 6


def test_islands_are_surveyed_and_the_choice_is_told(house):
    home = load(house(True, True))
    garden, roof, rooms = survey(home)
    assert (garden.number, roof.number, rooms.number) == (0, 1, 2)
    assert (garden.covered, roof.covered, rooms.covered) == (0, 0, 1)
    assert (roof.walled, rooms.walled) == (0, 1)
    assert garden.walled < 0.3
    assert roof.height > 2.5
    with pytest.warns(UserWarning, match=r"on island 2: 37\.\d m2 .*100 % under a ceiling.*Other islands: 0 with 463"):
        assert indoor_island(home) == 2


def test_of_equally_enclosed_islands_the_largest_is_taken(house):
    rooms = survey(load(house(True, False)))[1]
    larger = type(rooms)(5, rooms.area + 1, 3.0, 1.0, 0.8)
    assert most_enclosed([rooms, larger]) is larger


def test_a_single_island_needs_no_words(house):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert indoor_island(load(house(False, False))) == 0


def test_an_island_can_be_asked_for(house):
    env = HomesVectorEnv(1, scenes=[house(True, False)], island=0, **SMALL)
    env.reset(seed=0)
    assert env.poses.position[0, 1] > 2.5, "on the roof"
    with pytest.raises(EpisodeError, match=r"has no island 7: its navmesh has \d+, counted from 0. Its largest: island 0"):
        HomesVectorEnv(1, scenes=[house(True, False)], island=7, **SMALL).reset(seed=0)
    generated = load("home-3-low", island=1)
    assert indoor_island(generated) == 1
    assert indoor_island(load("home-3-low")) == 0, "the home of others is left alone"


def test_generated_homes_keep_the_island_under_their_rooms():
    home = load("home-5-low")
    island = indoor_island(home)
    for room in home.scene.rooms:
        x, z = room.polygon.mean(axis=0)
        beside = home.pathfinder.snap_point([x, room.floor, z], island)
        assert np.isfinite(beside).all()
