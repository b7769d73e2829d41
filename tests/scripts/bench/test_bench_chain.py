"""The chain's parts that are new: near goals, true moves, whole windows; and the whole on a tiny budget."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from embodia.envs.drawing.rotations import yaw_of
from embodia.envs.homes.episodes.near_goals import ASIDE, FURTHEST, NEAREST, TURNED, near_goals, turned
from embodia.envs.homes.tasks.sensors import image_goal_rotation
from embodia.scripts.bench.harness.options import Chain
from embodia.scripts.bench.world_models import chain as bench_chain
from embodia.scripts.bench.world_models.true_moves import TrueMoves

BUDGET = replace(bench_chain.SMOKE, test_homes=1, each=4)
NONE = torch.zeros(0)


@pytest.fixture(scope="module")
def env():
    env = bench_chain.near_env(4, BUDGET)
    yield env
    env.close()


def test_near_goals_are_near_and_in_view(env):
    env.reset(seed=[0, 1, 2, 3])
    apart = np.linalg.norm(env.goals - env.poses.position, axis=1)
    assert (apart >= NEAREST - 1e-3).all()
    assert (env.measures.distance_to_goal <= FURTHEST + 1e-3).all()
    to_goal = env.goals - env.poses.position
    for i, yaw in enumerate(yaw_of(env.poses.rotation)):
        bearing = np.arctan2(-to_goal[i, 0], -to_goal[i, 2])
        assert abs(turned(float(bearing), float(yaw))) <= ASIDE + 1e-6
    again = near_goals("test", range(1), 4)
    assert again.episodes == env.dataset.episodes
    assert near_goals("train", range(1), 1).scene_ids != again.scene_ids


def test_the_goals_picture_is_what_is_seen_there(env):
    """Standing where the picture was taken, turned as it was: the very picture; not turned too far from the start."""
    obs, _ = env.reset(seed=[0, 1, 2, 3])
    yaws = np.array([yaw_of(image_goal_rotation(episode.episode_id)) for episode in env.episodes])
    there = {"world": torch.arange(4), "place": torch.from_numpy(env.goals), "yaw": torch.from_numpy(yaws)}
    np.testing.assert_array_equal(TrueMoves(env).views(there), obs["imagegoal"])
    starts = yaw_of(env.poses.rotation)
    assert all(
        abs(turned(*pair)) <= TURNED + np.deg2rad(2) for pair in zip(yaws.tolist(), starts.tolist(), strict=True)
    )


def test_true_moves_are_the_environments(env):
    truth, rng = TrueMoves(env), np.random.default_rng(0)
    env.reset(seed=[0, 1, 2, 3])
    state = truth.observe({}, {}, NONE, NONE)
    for _ in range(2):
        action = rng.uniform(-1, 1, (4, 2)).astype(np.float32)
        action[:, 0] = np.maximum(action[:, 0], -0.5)  # no stop
        state = truth.imagine(state, torch.from_numpy(action))
        obs = env.step(action)[0]
        seen = truth.observe({}, {}, NONE, NONE)
        torch.testing.assert_close(state["place"], seen["place"], atol=1e-4, rtol=0)
        assert all(abs(turned(*pair)) < 1e-6 for pair in zip(state["yaw"].tolist(), seen["yaw"].tolist(), strict=True))
        np.testing.assert_array_equal(truth.views(seen), obs["rgb"])
        np.testing.assert_allclose(truth.predict(seen)["reward"], -np.linalg.norm(
            env.goals - env.poses.position, axis=1), atol=1e-5)  # fmt: skip


def test_who_plans_in_the_truth_arrives(env):
    budget = replace(bench_chain.Budget(), test_homes=1, each=4, samples=32)
    found = bench_chain.played(lambda env: bench_chain.floor_agent("true moves", budget, env), budget)
    assert sum(found["reached"]) >= 3, found


def test_windows_cross_no_border():
    first = torch.zeros(10, 3, dtype=torch.bool)
    first[0], first[4, 1], first[7, 2] = True, True, True
    worlds, times = bench_chain.whole_windows(first, 4, np.random.default_rng(0), 500)
    assert len({*zip(worlds.tolist(), times.tolist(), strict=True)}) == 7 + 4 + 4
    for world, time in zip(worlds, times, strict=True):
        assert not first[time + 1 : time + 4, world].any()


def test_the_chain_runs_and_is_not_run_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_chain, "SMOKE", replace(bench_chain.SMOKE, homes=1, moves=1))
    asked = Chain(seeds=1, smoke=True, out=tmp_path)
    found = bench_chain.measure(asked)
    success, *_, paired = found
    assert (success.name, success.unit) == ("own video encoder", "success")
    assert [control.name for control in success.controls] == ["random encoder", *bench_chain.FLOORS]
    assert all(control.unit == row.unit for row in found for control in row.controls)
    assert all(row.low <= row.value <= row.high for row in found)
    assert paired.value == pytest.approx(success.value - success.controls[0].value)
    folder = tmp_path / "smoke"
    assert cv2.imread(str(folder / "chain.png")).std() > 5
    names = [json.loads(line)["name"] for line in (folder / "chain.jsonl").read_text().splitlines()]
    assert len(names) == len(set(names))
    monkeypatch.setattr(bench_chain, "Chain", None)
    monkeypatch.setattr(bench_chain, "jobs", lambda *_: ((name, None) for name in names))
    assert bench_chain.measure(asked) == found
