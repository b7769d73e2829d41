"""The homes' environments against the contract of `envs`: every id, seeds, snapshots, autoreset, experts, scores."""

import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from embodia import envs
from embodia.envs.drawing.rotations import yaw_of
from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.episodes.dataset import Episode, EpisodeDataset, EpisodeError, Goal, write_episodes
from embodia.envs.homes.ids import HOME_IDS
from embodia.envs.homes.vector_env import HomesVectorEnv

APARTMENT = Path(__file__).parent / "data" / "apartment" / "apartment.glb"
SMALL = {"width": 24, "height": 16, "num_scenes": 2, "detail": "low"}
LIGHT = {**SMALL, "sensors": ("depth", "pointgoal_with_gps_compass")}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a | b)


def copied(path, folder):
    """The apartment in a folder of the test's own, so that no navmesh is written into the repository."""
    for file in path.parent.glob("apartment*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@pytest.fixture(scope="module")
def vector():
    return HomesVectorEnv(3, **LIGHT)


@pytest.mark.parametrize("env_id", HOME_IDS)
def test_every_id_passes_the_checker(env_id):
    env = gym.make(f"embodia:{env_id}", **SMALL)
    assert isinstance(env.unwrapped, envs.Environment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_the_vector_environment_keeps_the_contract(vector):
    assert isinstance(vector, envs.VectorEnvironment)
    assert vector.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    made = gym.make_vec("embodia:embodia/PointNav-v0", num_envs=2, vectorization_mode="vector_entry_point", **LIGHT)
    assert made.reset(seed=0)[0]["depth"].shape == (2, 16, 24, 1)
    assert made.observation_space.contains(made.reset(seed=0)[0])


def test_a_seed_fixes_the_episode(vector):
    first, info = vector.reset(seed=5)
    steps = [vector.step(np.array([1, 2, 3])) for _ in range(3)]
    other = HomesVectorEnv(3, **LIGHT)
    again, info_again = other.reset(seed=5)
    assert same(first, again)
    assert info["episode_id"].tolist() == info_again["episode_id"].tolist()
    for obs, reward, *_ in steps:
        obs_again, reward_again, *_ = other.step(np.array([1, 2, 3]))
        assert same(obs, obs_again)
        assert np.array_equal(reward, reward_again)
    moved = vector.reset(seed=6)[0]
    assert not same(first, moved)
    assert same({k: v[1:] for k, v in first.items()}, {k: v[:-1] for k, v in moved.items()}), "world i plays seed + i"


def test_unseeded_resets_go_on_from_the_seed():
    one, other = HomesVectorEnv(1, **LIGHT), HomesVectorEnv(1, **LIGHT)
    for env in (one, other):
        env.reset(seed=1)
    ids = [(one.reset()[1]["episode_id"][0], other.reset()[1]["episode_id"][0]) for _ in range(4)]
    assert all(a == b for a, b in ids)
    assert len({a for a, _ in ids}) == 4


def test_splits_share_no_home():
    names = {}
    for split in ("train", "test"):
        env = HomesVectorEnv(1, split=split, **LIGHT)
        names[split] = {env.reset(seed=s)[1]["scene_id"][0] for s in range(2)}
    assert not names["train"] & names["test"]


def test_next_step_autoreset_and_the_layout_of_infos(vector):
    vector.reset(seed=0)
    _, _, terminated, truncated, infos = vector.step(np.array([0, 1, 1]))
    assert terminated.tolist() == [True, False, False]
    assert not truncated.any()
    assert infos["_metrics"].tolist() == [True, False, False]
    assert all(value.shape == (3,) for value in infos["metrics"].values())
    expected = {"distance_to_goal", "success", "spl", "soft_spl", "num_steps", "collisions/count"}
    assert expected <= set(infos["metrics"])
    before = vector.poses.position[1:].copy()
    _, reward, terminated, _, infos = vector.step(np.array([1, 1, 1]))
    assert not terminated.any()
    assert reward[0] == 0
    assert "metrics" not in infos
    assert vector.measures.num_steps.tolist() == [0, 2, 2]
    assert np.array_equal(vector.poses.position[0], vector.poses.start_position[0]), "its action was ignored"
    assert infos["_episode_id"].tolist() == [True, False, False]
    assert not np.array_equal(vector.poses.position[1:], before)


def test_reset_mask_restarts_only_those(vector):
    vector.reset(seed=0)
    vector.step(np.array([1, 2, 2]))
    kept = vector.poses.rotation[2].copy()
    obs, _ = vector.reset(seed=[9, 9, 9], options={"reset_mask": np.array([True, True, False])})
    assert vector.measures.num_steps.tolist() == [0, 0, 1]
    assert np.array_equal(vector.poses.rotation[2], kept)
    assert np.array_equal(obs["depth"][0], obs["depth"][1])


def test_truncation_without_stop_is_no_success():
    env = gym.make("embodia:embodia/PointNav-v0", max_steps=3, **LIGHT)
    env.reset(seed=0)
    for _ in range(3):
        _, _, terminated, truncated, info = env.step(2)
    assert (terminated, truncated) == (False, True)
    assert (info["metrics"]["success"], info["metrics"]["num_steps"]) == (0.0, 3.0)
    with pytest.raises(RuntimeError, match="over after 3 steps; call reset"):
        env.step(1)


@pytest.mark.parametrize("task", ["PointNav", "ObjectNav", "Exploration"])
def test_snapshots_go_back_in_time(task):
    options = {**SMALL, "sensors": ("depth", "compass", "gps"), "task": task, "max_steps": 12}
    env = HomesVectorEnv(2, **options)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.expert_action())
    state = env.get_state()

    def ahead(env):
        return [env.step(env.expert_action())[:4] for _ in range(12)]  # across an autoreset

    first = ahead(env)
    seen = env.set_state(state)
    fresh = HomesVectorEnv(2, **options)
    assert same(seen, fresh.set_state(state)), "also in an environment that was never reset"
    for replay in (ahead(env), ahead(fresh)):
        for then, now in zip(first, replay):
            assert same(then[0], now[0])
            assert all(np.array_equal(a, b) for a, b in zip(then[1:], now[1:]))


def test_a_state_is_plain_data(vector):
    vector.reset(seed=0)

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return value is None or isinstance(value, np.ndarray | int | float | str | bytes)

    assert plain(vector.get_state())


@pytest.mark.parametrize("env_id", [f"embodia/{name}-v0" for name in ("PointNav", "ObjectNav", "PointNav-Velocity")])
def test_experts_succeed(env_id):
    env = gym.make(f"embodia:{env_id}", **SMALL)
    scores = []
    for seed in range(4):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(env.unwrapped.expert_action())
            over = terminated or truncated
        scores.append((info["metrics"]["success"], info["metrics"]["spl"]))
    success, spl = np.mean(scores, axis=0)
    assert success == 1
    assert spl > 0.85


def test_the_explorer_sees_most_of_the_floor():
    env = gym.make("embodia:embodia/Exploration-v0", sensors=("depth",), **{**SMALL, "num_scenes": 1})
    env.reset(seed=0)
    over, rewards = False, 0.0
    while not over:
        _, reward, terminated, truncated, info = env.step(env.unwrapped.expert_action())
        rewards, over = rewards + reward, terminated or truncated
    assert info["metrics"]["coverage"] > 0.9
    assert info["metrics"]["success"] == 1
    first_look = info["metrics"]["area_seen"] - (rewards + 0.01 * info["metrics"]["num_steps"]) / 0.1
    assert 0 < first_look < info["metrics"]["area_seen"], "rewards add up to what was uncovered after the first look"


def test_looking_up_and_down_tilts_the_camera_only():
    env = gym.make("embodia:embodia/ObjectNav-v0", **SMALL)
    level = env.reset(seed=0)[0]
    up = env.step(4)[0]
    assert not np.array_equal(up["depth"], level["depth"])
    assert np.array_equal(up["compass"], level["compass"])
    assert np.array_equal(env.step(5)[0]["depth"], level["depth"])


def test_the_picture(vector):
    vector.reset(seed=0)
    for _ in range(4):
        vector.step(vector.expert_action())
    frames = vector.render()
    assert len(frames) == 3
    assert frames[0].dtype == np.uint8
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    assert frames[0].std() > 20
    measure = vector.top_down_map(0, resolution=128)
    assert {"map", "fog_of_war_mask", "agent_map_coord", "agent_angle"} == set(measure)
    assert measure["fog_of_war_mask"].sum() > 100


class TestOwnScenes:
    """A scanned .glb and a Habitat episode file."""

    def test_episodes_in_file_order_by_seed(self, tmp_path):
        copied(APARTMENT, tmp_path)
        source = HomesVectorEnv(1, scenes=[tmp_path / "apartment.glb"], **LIGHT)
        episodes = []
        for seed in range(3):
            source.reset(seed=seed)
            kept = source.episodes[0]
            fields = {**vars(kept), "scene_id": "apartment.glb", "episode_id": f"e{seed}"}
            episodes.append(Episode(**fields))
        write_episodes(tmp_path / "val" / "val.json.gz", EpisodeDataset(tuple(episodes)))
        env = HomesVectorEnv(1, episodes=tmp_path / "val" / "val.json.gz", scenes_dir=tmp_path, **LIGHT)
        for seed, expected in enumerate(episodes):
            _, info = env.reset(seed=seed)
            assert info["episode_id"][0] == expected.episode_id
            assert info["distance_to_goal"][0] == pytest.approx(expected.info["geodesic_distance"], abs=1e-4)
        assert {env.reset()[1]["episode_id"][0] for _ in range(3)} == {"e0", "e1", "e2"}
        assert (tmp_path / "apartment.glb.navmesh.npz").exists(), "kept beside the scene"

    def test_object_nav_in_an_annotated_scan(self, tmp_path):
        env = HomesVectorEnv(1, task="ObjectNav", scenes=[copied(APARTMENT, tmp_path)], width=24, height=16)
        names = set()
        for seed in range(6):
            obs, _ = env.reset(seed=seed)
            names.add(env.episodes[0].object_category)
            assert obs["objectgoal"].shape == (1, 1)
        assert names <= {"chair", "bed", "plant", "toilet", "tv_monitor", "sofa"}
        assert len(names) >= 2

    def test_an_unreachable_goal_is_one_clear_error(self, tmp_path):
        scene = str(copied(APARTMENT, tmp_path))
        start = Episode("e1", scene, (5.0, 0.1, 7.5), (0, 0, 0, 1), goals=(Goal((50.0, 0.1, 1.0)),))
        env = HomesVectorEnv(1, episodes=EpisodeDataset((start,)), **LIGHT)
        with pytest.raises(EpisodeError, match=r"'e1' \(scene .*no path leads from its start"):
            env.reset(seed=0)

    def test_unreachable_goals_are_skipped_and_listed_on_request(self, tmp_path):
        scene = str(copied(APARTMENT, tmp_path))
        reachable = []
        for seed in range(2):
            source = HomesVectorEnv(1, scenes=[scene], **LIGHT)
            source.reset(seed=seed)
            reachable.append(Episode(**{**vars(source.episodes[0]), "scene_id": scene, "episode_id": f"ok{seed}"}))
        far = Goal((50.0, 0.1, 1.0))
        lost = [Episode(f"lost{i}", scene, (5.0, 0.1, 7.5), (0, 0, 0, 1), goals=(far,)) for i in range(2)]
        dataset = EpisodeDataset((lost[0], reachable[0], lost[1], reachable[1]))
        env = HomesVectorEnv(4, episodes=dataset, skip_unreachable=True, **LIGHT)
        _, info = env.reset(seed=[0, 1, 2, 3])
        assert info["episode_id"].tolist() == ["ok0", "ok0", "ok1", "ok1"]
        assert list(env.unreachable) == ["episode 0 ('lost0')", "episode 2 ('lost1')"]
        assert "no path leads from its start" in env.unreachable["episode 0 ('lost0')"]
        assert {env.reset()[1]["episode_id"][0] for _ in range(4)} == {"ok0", "ok1"}
        with pytest.raises(EpisodeError, match="no path leads"):
            HomesVectorEnv(1, episodes=EpisodeDataset(tuple(lost)), skip_unreachable=True, **LIGHT).reset(seed=0)

    def test_a_missing_scene_is_one_clear_error(self, tmp_path):
        lost = Episode("e1", "gibson/Lost.glb", (0, 0, 0), (0, 0, 0, 1), goals=(Goal((1, 0, 0)),))
        write_episodes(tmp_path / "val.json.gz", EpisodeDataset((lost,)))
        env = HomesVectorEnv(1, episodes=tmp_path / "val.json.gz", scenes_dir=tmp_path, **LIGHT)
        with pytest.raises(
            EpisodeError, match=r"val\.json\.gz: episode 'e1' names scene 'gibson/Lost\.glb', not found"
        ):
            env.reset(seed=0)
        with pytest.raises(SceneError, match=r"nowhere\.glb: no such scene file"):
            HomesVectorEnv(1, scenes=["nowhere.glb"], **LIGHT).reset(seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "VectorNav"}, "task='VectorNav'; choose one of PointNav"),
        ({"sensors": ("sonar",)}, r"unknown sensors \['sonar'\]; choose from rgb, depth"),
        ({"sensors": ("objectgoal",)}, "PointNav has no goal that sensor 'objectgoal' could show"),
        ({"split": "val"}, "split='val'; choose one of train, test"),
        ({"actions": "jump"}, "actions='jump'"),
        ({"engine": "unity"}, "engine='unity'; choose one of embodia, habitat-sim"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        HomesVectorEnv(1, **options)


def test_a_velocity_action_lasts_as_long_as_is_said():
    """Turning on the spot: ten degrees a second, and the expert still stops at the goal."""
    for seconds in (1.0, 3.0):
        env = HomesVectorEnv(1, actions="velocity", time_step=seconds, **LIGHT)
        env.reset(seed=0)
        before = yaw_of(env.poses.rotation[0])
        env.step(np.array([[-1.0, 1.0]]))
        after = yaw_of(env.poses.rotation[0])
        assert np.rad2deg(after - before) % 360 == pytest.approx(10 * seconds, abs=1e-4)
        over = False
        for _ in range(200):
            _, _, terminated, truncated, info = env.step(env.expert_action())
            if over := bool(terminated[0] | truncated[0]):
                break
        assert over
        assert info["metrics"]["success"][0] == 1
    with pytest.raises(ValueError, match="time_step=0 s"):
        HomesVectorEnv(1, actions="velocity", time_step=0, **LIGHT)


def test_an_episode_may_be_in_a_generated_home():
    first = HomesVectorEnv(1, "ImageNav", **SMALL)
    first.reset(seed=3)
    second = HomesVectorEnv(1, "ImageNav", episodes=EpisodeDataset((first.episodes[0],)), **SMALL)
    assert same(first.reset(seed=3)[0], second.reset(seed=0)[0])


def test_impossible_actions(vector):
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"step 0: actions have shape \(2,\); 3 worlds need \(3,\)"):
        vector.step(np.array([1, 1]))
    with pytest.raises(ValueError, match="action 7 of world 2 is none of 0 to 3"):
        vector.step(np.array([1, 1, 7]))
    smooth = HomesVectorEnv(1, actions="velocity", **LIGHT)
    with pytest.raises(RuntimeError, match="step before reset"):
        smooth.step(np.zeros((1, 2)))
    smooth.reset(seed=0)
    with pytest.raises(ValueError, match="the action of world 0 is not finite"):
        smooth.step(np.array([[np.nan, 0]]))


def test_levels_are_named_after_what_they_are():
    made = HomesVectorEnv(3, **LIGHT)
    names = made.reset(seed=[0, 1, 0])[1]["level"]
    assert names[0] == names[2] != names[1]
    data = EpisodeDataset((made.episodes[0], made.episodes[1]))
    again = HomesVectorEnv(4, episodes=data, **LIGHT).reset(seed=0)[1]["level"]
    assert list(again) == [names[0], names[1], names[0], names[1]], "a file of two episodes has two levels"


def test_the_test_split_may_have_scenes_and_episodes_of_its_own():
    made = HomesVectorEnv(2, **LIGHT)
    made.reset(seed=0)
    train, test = (EpisodeDataset((episode,)) for episode in made.episodes)
    files = {"episodes": train, "test_episodes": test, **LIGHT}
    names = [HomesVectorEnv(1, split=split, **files).reset(seed=0)[1]["level"][0] for split in ("train", "test")]
    assert names[0] != names[1]
    assert HomesVectorEnv(1, split="test", episodes=train, **LIGHT).reset(seed=0)[1]["level"][0] == names[0]
    scenes = {"scenes": ("home-0-low",), "test_scenes": ("home-1-low",), **LIGHT}
    homes = [HomesVectorEnv(1, split=split, **scenes).reset(seed=0)[1]["scene_id"][0] for split in ("train", "test")]
    assert homes == ["home-0-low", "home-1-low"]


def test_a_single_home_reports_its_scores_so_far():
    env = gym.make("embodia/PointNav-v0", max_episode_steps=3, **LIGHT)
    env.reset(seed=0)
    for step in range(1, 4):
        *_, truncated, info = env.step(2)
        assert info["metrics"]["num_steps"] == step
    assert truncated
    assert info["metrics"]["success"] == 0
