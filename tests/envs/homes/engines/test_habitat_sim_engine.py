"""The adapter to habitat_sim, on a stand-in that has the real one's traps (see `fake_habitat_sim`)."""

import gc
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines import habitat_sim_simulators
from embodia.envs.homes.engines.engine import EmbodiaEngine, generated_scene
from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimEngine
from embodia.envs.homes.engines.habitat_sim_pathfinder import HabitatPathFinder
from embodia.envs.homes.engines.habitat_sim_simulators import MOST_SENSORS, HabitatSimError
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
    with pytest.raises(
        ImportError, match=r"habitat_sim 0\.3\.4 .*conda's habitat-sim 0\.3\.3 is for.*engine=\"embodia\" runs"
    ):
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
    engine.render([home], EYE, AHEAD, camera, ("depth",))
    (simulator,) = fake_habitat_sim.simulators
    before = simulator.reconfigured
    for _ in range(3):
        engine.render([home], EYE, AHEAD, camera, ("depth",))
    assert simulator.reconfigured == before
    engine.render([home], EYE, AHEAD, Camera(12, 12), ("depth",))
    engine.render([home], EYE, AHEAD, camera, ("depth",))
    assert simulator.reconfigured == before + 1, "the first camera was kept"


@pytest.mark.parametrize("other", [Camera(12, 16), Camera(24, 32, hfov=60.0), Camera(24, 32, near=2.0, far=4.0)])
def test_another_camera_draws_its_own_pictures(scene, other):
    """habitat-sim compares no resolution, angle or range: an equal name would keep the old camera."""
    engine, alone = make(), make()
    home = engine.home(scene)
    engine.render([home], EYE, AHEAD, Camera(24, 32), ("depth", "rgb"))
    after = engine.render([home], EYE, AHEAD, other, ("depth", "rgb"))
    right = alone.render([alone.home(scene)], EYE, AHEAD, other, ("depth", "rgb"))
    assert after["depth"].shape == (1, other.height, other.width, 1)
    assert all(np.array_equal(after[name], right[name]) for name in right)


def test_memory_stays_flat_when_cameras_change(scene):
    """InstanceImageNav takes a new camera for each goal image; replaced sensors would stay in memory."""
    engine = make("InstanceImageNav")
    home, living = engine.home(scene), []
    for reset in range(200):
        engine.render([home], EYE, AHEAD, Camera(4, 4, hfov=60 + reset / 10), ("rgb",))
        engine.render([home], EYE, AHEAD, Camera(4, 6), ("depth", "rgb"))
        living.append(len(fake_habitat_sim.live_sensors))
    assert living[10:] == living[10:11] * 190
    assert living[-1] <= MOST_SENSORS
    assert len(fake_habitat_sim.simulators) == 1


def test_colour_is_available_in_a_simulator_that_only_drew_depth(scene):
    engine = make()
    home = engine.home(scene)
    engine.render([home], EYE, AHEAD, Camera(4, 4), ("depth",))
    drawn = [each.spec.resolution for each in fake_habitat_sim.live_sensors if each.image is not None]
    assert drawn == [[4, 4]], "the sensor that keeps colour available is never drawn"
    assert engine.render([home], EYE, AHEAD, Camera(4, 4), ("rgb",))["rgb"].any()
    assert len(fake_habitat_sim.simulators) == 1


def copies_of(scene, count):
    """The same scene in several folders."""
    folders = [Path(scene).parent / str(k) for k in range(count)]
    for folder in folders:
        folder.mkdir()
        for file in APARTMENT.glob("apartment*"):
            (folder / file.name).write_bytes(file.read_bytes())
    return [str(folder / "apartment.glb") for folder in folders]


def test_each_scene_has_a_simulator_and_the_least_used_one_is_closed(scene):
    engine = HabitatSimEngine(TASKS["PointNav"], Camera(4, 4), gpu_device_id=-1, most_scenes=2)
    homes = [engine.home(file) for file in copies_of(scene, 3)]
    draw = {"camera": Camera(4, 4), "sensors": ("depth",)}
    assert len(fake_habitat_sim.simulators) == 2
    owner = fake_habitat_sim.simulators[0]
    for _ in range(3):
        engine.render(homes, np.repeat(EYE, 3, axis=0), np.repeat(AHEAD, 3, axis=0), **draw)
        assert len(fake_habitat_sim.simulators) == 2
        assert fake_habitat_sim.simulators[0] is owner, "the others draw with its OpenGL context"
    engine.render(homes[:1], EYE, AHEAD, **draw)
    before = owner.reconfigured
    engine.render(homes[:1], EYE, AHEAD, **draw)
    assert owner.reconfigured == before


@pytest.mark.parametrize("version", ["0.3.3", "0.3.4"])
def test_steps_without_sliding_follow_0_3_3_on_every_version(scene, monkeypatch, version):
    if version == "0.3.3":
        fake_habitat_sim.as_0_3_3(monkeypatch)
    engine = make("ObjectNav")
    theirs = engine.home(scene).pathfinder
    assert engine.version == f"habitat-sim {version}" + ", steps without sliding as in 0.3.3" * (version == "0.3.4")
    ours = EmbodiaEngine(TASKS["ObjectNav"].navmesh, navmesh_beside=False).home(scene).pathfinder
    rng, sticking = np.random.default_rng(0), 0
    place = ours.get_random_navigable_point(rng, 0)
    for _ in range(60):
        angle = rng.uniform(0, 2 * np.pi)
        target = place + np.float32([0.25 * np.cos(angle), 0, 0.25 * np.sin(angle)])
        ended = ours.try_step_no_sliding(place, target)
        np.testing.assert_allclose(theirs.try_step_no_sliding(place, target), ended, atol=2e-6)
        sticking += np.linalg.norm(np.array([*theirs._finder.try_step_no_sliding(place, target)]) - ended) > 1e-3
        place = ended
    assert bool(sticking) == (version == "0.3.4"), "its own steps"


def test_the_installed_steps_can_be_asked_for(scene):
    engine = HabitatSimEngine(TASKS["ObjectNav"], Camera(4, 4), gpu_device_id=-1, steps="installed")
    assert engine.version == "habitat-sim 0.3.4"
    assert engine.home(scene).pathfinder._walker is None


def test_a_navmesh_that_cannot_be_walked_on_says_what_to_do(scene, monkeypatch):
    monkeypatch.setattr(fake_habitat_sim.PathFinder, "save_nav_mesh", lambda finder, path: Path(path).write_text("x"))
    with pytest.raises(NavMeshError, match=r'apartment\.glb.*steps="installed"'):
        make("ObjectNav").home(scene)


def test_floor_of_a_map_is_asked_cell_by_cell_and_once(scene, monkeypatch):
    """Cells are not square; `get_topdown_view` has one pitch for both axes."""
    theirs = make().home(scene).pathfinder
    settings = replace(TASKS["PointNav"].navmesh, filter_exact_height_spans=False)
    ours = EmbodiaEngine(settings, navmesh_beside=False).home(scene).pathfinder
    where = ours.bounds, (40, 90), float(ours.bounds[0, 1]) + 0.2
    free = theirs.free_cells(*where)
    assert np.array_equal(free, ours.free_cells(*where))
    assert 0.3 < free.mean() < 1
    asked = []
    monkeypatch.setattr(theirs._finder, "is_navigable", lambda *place: asked.append(place) or False, raising=False)
    free[:] = False
    assert theirs.free_cells(*where).any()
    assert not asked


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
    assert fake_habitat_sim.simulators == fake_habitat_sim.live_sensors == []
    with pytest.raises(HabitatSimError, match="is closed"):
        older.render([home], EYE, AHEAD, Camera(8, 8), ("depth",))
    older.close()  # twice does no harm


def test_an_engine_that_is_dropped_closes_its_simulators(scene):
    make().home(scene)
    gc.collect()
    assert fake_habitat_sim.simulators == habitat_sim_simulators._opened == []


def test_an_engine_closes_before_it_opened_anything():
    engine = make()
    engine.close()
    engine.close()


def test_a_forked_process_is_told_before_gl_ends_it(scene, monkeypatch):
    engine = make()
    home = engine.home(scene)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(HabitatSimError, match=r'^this process was forked while.*"spawn" or "forkserver"[^\n]*$'):
        make()
    with pytest.raises(HabitatSimError, match='start method "spawn"'):
        engine.render([home], EYE, AHEAD, Camera(8, 8), ("depth",))
    engine.close()
    assert len(fake_habitat_sim.simulators) == 1, "the parent's stays open"
    assert engine._exports.is_dir()


def test_a_broken_scene_is_named_and_the_engine_closes(scene):
    broken = Path(scene).with_name("broken.glb")
    broken.write_bytes(b"glTF" + bytes(40))
    broken.with_name("broken.stage_config.json").write_text('{"render_asset": "broken.glb", "up": [0, 1, 0]}')
    engine = make()
    with pytest.raises(SceneError, match=r"broken\.glb: habitat-sim cannot load this scene"):
        engine.home(str(broken))
    assert engine.home(scene).objects
    engine.close()
    assert fake_habitat_sim.simulators == []


@pytest.mark.parametrize("island", [99, -2])
def test_an_island_that_does_not_exist_is_refused_before_it_ends_the_process(scene, island):
    rng = np.random.default_rng(0)
    ours = EmbodiaEngine(TASKS["PointNav"].navmesh, navmesh_beside=False).home(scene).pathfinder
    for finder in (make().home(scene).pathfinder, ours):
        for ask in (
            lambda finder: finder.snap_point(EYE[0], island),
            lambda finder: finder.island_area(island),
            lambda finder: finder.get_random_navigable_point(rng, island),
            lambda finder: finder.get_random_navigable_point_near(rng, EYE[0], 1.0, island_index=island),
        ):
            with pytest.raises(ValueError, match=f"There is no island {island}; this navmesh has"):
                ask(finder)


def test_a_missing_scene_is_named():
    with pytest.raises(SceneError, match=r"'lost\.glb': no such file"):
        make().home("lost.glb")


def test_generated_homes_and_exported_ones_load(tmp_path):
    """A scene instance beside the .glb would end the process."""
    generated = make().home("home-7-low-1")
    path = export_scene(generated_scene("home-7-low-1"), tmp_path, "home-7-low-1")
    exported = make().home(str(path))
    assert [thing.name for thing in exported.objects] == [thing.name for thing in generated.objects]
    for made, thing, box in zip(generated_scene("home-7-low-1").objects, generated.objects, exported.objects):
        assert np.array_equal(made.center, thing.center)
        assert np.abs(thing.aabb.mean(axis=0) - box.center).max() < 0.01, "habitat-sim boxes the largest part"
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
