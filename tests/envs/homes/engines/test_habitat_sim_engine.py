"""The adapter to habitat_sim, on a stand-in that has the real one's traps (see `fake_habitat_sim`)."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.engine import generated_scene
from embodia.envs.homes.engines import habitat_sim_simulators
from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimEngine
from embodia.envs.homes.engines.habitat_sim_pathfinder import HabitatPathFinder
from embodia.envs.homes.engines.habitat_sim_simulators import HabitatSimError
from embodia.envs.homes.episodes.islands import indoor_island
from embodia.envs.homes.files.export import export_scene
from embodia.envs.homes.navmesh.navmesh import NavMeshError
from embodia.envs.homes.observations import SensorSuite
from embodia.envs.homes.tasks.navigation import TASKS, Camera
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.tests.envs.homes.engines import fake_habitat_sim
from embodia.tests.envs.test_batch_equals_alone import check

APARTMENT = Path(__file__).parents[1] / "data" / "apartment"
SMALL = {"width": 32, "height": 24}
EYE = np.array([[5.0, 1.3, 6.0]])
AHEAD = np.array([[0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(autouse=True)
def habitat_sim(monkeypatch):
    monkeypatch.setitem(sys.modules, "habitat_sim", fake_habitat_sim)
    yield fake_habitat_sim
    fake_habitat_sim.forget()
    habitat_sim_simulators._opened.clear()


@pytest.fixture
def scene(tmp_path):
    for file in APARTMENT.glob("apartment*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return str(tmp_path / "apartment.glb")


def make(task="PointNav"):
    return HabitatSimEngine(TASKS[task], Camera(24, 32), gpu_device_id=-1)


def test_worlds_that_share_one_simulator_equal_worlds_alone(scene):
    sensors = ("rgb", "depth", "semantic", "gps", "compass")
    check("embodia/ObjectNav-v0", engine="habitat-sim", scenes=[scene], sensors=sensors, max_steps=6, **SMALL)


@pytest.mark.parametrize("task", ["PointNav", "ObjectNav"])
def test_the_same_episodes_agents_and_scores_on_both_engines(scene, task):
    options = {**SMALL, "task": task, "scenes": [scene], "sensors": ("rgb", "depth", "semantic", "gps", "compass")}
    ours, theirs = (HomesVectorEnv(1, engine=engine, **options) for engine in ("embodia", "habitat-sim"))
    ours.reset(seed=3)
    from embodia.envs.homes.episodes.dataset import EpisodeDataset

    dataset = EpisodeDataset((ours.episodes[0],), category_ids=dict(ours.suite.category_ids))
    ours, theirs = (
        HomesVectorEnv(1, engine=engine, episodes=dataset, **options) for engine in ("embodia", "habitat-sim")
    )
    first, second = ours.reset(seed=0)[0], theirs.reset(seed=0)[0]
    over = False
    while not over:
        for name, value in first.items():
            np.testing.assert_allclose(value, second[name], atol=1e-5, err_msg=name)
        action = ours.expert_action()
        assert np.array_equal(action, theirs.expert_action())
        first, reward, terminated, truncated, infos = ours.step(action)
        second, reward_there, *_, infos_there = theirs.step(action)
        assert reward == pytest.approx(reward_there, abs=1e-5)
        over = bool(terminated[0] | truncated[0])
    for name, value in infos["metrics"].items():
        np.testing.assert_allclose(value, infos_there["metrics"][name], atol=1e-5, err_msg=name)
    assert infos["metrics"]["success"][0] == 1


def test_new_episodes_and_pictures_on_habitat_sim(scene):
    env = HomesVectorEnv(2, engine="habitat-sim", scenes=[scene], sensors=("depth", "pointgoal"), **SMALL)
    obs, _ = env.reset(seed=0)
    again, _ = env.reset(seed=0)
    assert all(np.array_equal(obs[name], again[name]) for name in obs), "seeded right before every draw"
    assert env.render()[0].shape[2] == 3, "adds colour by making the simulator anew"
    state = env.get_state()
    env.step(np.array([1, 2]))
    assert all(np.array_equal(obs[name], value) for name, value in env.set_state(state).items())


def test_a_missing_habitat_sim_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    with pytest.raises(ImportError, match=r"habitat_sim 0\.3\.4 .*conda's habitat-sim 0\.3\.3 is for.*engine=\"embodia\" runs"):
        make()


def test_an_unloaded_path_finder_is_refused_before_it_is_asked():
    with pytest.raises(NavMeshError, match="no navmesh"):
        HabitatPathFinder(fake_habitat_sim, fake_habitat_sim.PathFinder())


def test_pictures_lose_their_alpha_and_are_the_callers_own(scene):
    engine = make()
    home = engine.home(scene)
    camera, names = Camera(24, 32), ("rgb", "depth", "semantic")
    first = engine.render([home], EYE, AHEAD, camera, names)
    kept = {name: image.copy() for name, image in first.items()}
    assert {name: (image.shape, image.dtype) for name, image in first.items()} == {
        "rgb": ((1, 24, 32, 3), np.uint8),
        "depth": ((1, 24, 32, 1), np.float32),
        "semantic": ((1, 24, 32, 1), np.int32),
    }
    engine.render([home], EYE + 0.5, AHEAD, camera, names)
    assert all(np.array_equal(first[name], kept[name]) for name in names)
    shown = set(np.unique(first["semantic"])) - {0}
    assert shown <= {thing.semantic_id for thing in home.objects}


def test_the_same_view_is_not_configured_twice(scene):
    engine = make()
    home, camera = engine.home(scene), Camera(24, 32)
    for _ in range(3):
        engine.render([home], EYE, AHEAD, camera, ("depth",))
    simulator = fake_habitat_sim.simulators[-1]
    before = simulator.reconfigured
    engine.render([home], EYE, AHEAD, camera, ("depth",))
    assert simulator.reconfigured == before
    engine.render([home], EYE, AHEAD, Camera(12, 12), ("depth",))
    assert simulator.reconfigured == before + 1


def test_another_thread_is_told_before_gl_ends_the_process(scene):
    engine = make()
    home = engine.home(scene)
    caught = []

    def draw():
        try:
            engine.render([home], EYE, AHEAD, Camera(8, 8), ("depth",))
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert 'start method "spawn"' in caught[0]


def test_closing_the_older_of_two_waits_for_the_younger(scene):
    older, younger = make(), make()
    older.home(scene)
    home = younger.home(scene)
    older.close()
    assert younger.render([home], EYE, AHEAD, Camera(8, 8), ("depth",))["depth"].any()
    younger.close()
    assert fake_habitat_sim.simulators == []
    with pytest.raises(RuntimeError, match="is closed"):
        older.render([home], EYE, AHEAD, Camera(8, 8), ("depth",))
    older.close()  # twice does no harm


def test_a_missing_scene_is_named():
    with pytest.raises(SceneError, match=r"'lost\.glb': no such file"):
        make().home("lost.glb")


def test_generated_homes_and_exported_ones_load(tmp_path):
    """A scene instance beside the .glb would end the process."""
    generated = make().home("home-7-low-1")
    path = export_scene(generated_scene("home-7-low-1"), tmp_path, "home-7-low-1")
    exported = make().home(str(path))
    assert [thing.name for thing in exported.objects] == [thing.name for thing in generated.objects]
    assert indoor_island(generated) == indoor_island(exported)
    path.with_name("home-7-low-1.scene_instance.json").write_text(
        '{"stage_instance": {"template_name": "home-7-low-1"}}'
    )
    with pytest.raises(SceneError, match="is no stage that habitat-sim finds"):
        make().home(str(path))


def test_annotation_comes_from_the_oriented_boxes(scene):
    home = make("ObjectNav").home(scene)
    toilet = next(thing for thing in home.objects if thing.category == "toilet")
    assert toilet.name == "toilet_18"
    assert toilet.room == 2
    assert toilet.half_extents.max() < 1, "aabb would reach to the origin"
    assert SensorSuite(TASKS["ObjectNav"], ("semantic",), Camera()).space()["semantic"].high.max() >= 18
