"""Worlds side by side: Gymnasium's contract kept, errors whole, nothing left behind."""

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from embodia.envs import VectorEnvironment, workers
from embodia.envs.vector import SubprocessVector, SyncVector, make
from embodia.envs.workers import WorkerError, WorkerTraceback
from embodia.envs.worlds import MetricsError, ObservationError
from embodia.tests.fakes import CountingEnv, EverySpaceEnv, IdentityEnv, Shown, Unpicklable


def build(kind, env_fns, workers=None):
    return SyncVector(env_fns) if kind == "sync" else SubprocessVector(env_fns, workers)


def play(env, steps):
    for _ in range(steps):
        env.step(np.zeros(env.num_envs, int))


@pytest.fixture(scope="module")
def shared():
    """Four counting worlds in two workers, for tests that leave it usable."""
    env = SubprocessVector([CountingEnv] * 4, workers=2)
    yield env
    env.close()


@pytest.fixture(params=["sync", "subprocess"])
def counting(request, shared):
    return shared if request.param == "subprocess" else SyncVector([CountingEnv] * 4)


def test_it_is_a_vector_environment(counting):
    assert isinstance(counting, gym.vector.VectorEnv)
    assert isinstance(counting, VectorEnvironment)
    assert counting.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert counting.action_space == spaces.MultiDiscrete([3] * 4)


def test_next_step_autoreset_gives_the_rows_of_the_contract(counting):
    obs, _ = counting.reset(seed=[0, 1, 2, 3])
    np.testing.assert_array_equal(obs["seed"][:, 0], [0, 1, 2, 3])
    for t in range(1, 6):
        obs, reward, terminated, truncated, infos = counting.step(np.zeros(4, int))
        np.testing.assert_array_equal(obs["count"][:, 0], t)
        np.testing.assert_array_equal(reward, t)
    np.testing.assert_array_equal(terminated, [True, False, True, False])
    np.testing.assert_array_equal(truncated, [False, True, False, True])
    np.testing.assert_array_equal(infos["metrics"]["success"], [1, 0.5, 1, 0.5])
    obs, reward, terminated, truncated, infos = counting.step(np.zeros(4, int))
    np.testing.assert_array_equal(obs["count"][:, 0], 0)
    assert not reward.any()
    assert not (terminated | truncated).any()
    assert "metrics" not in infos


def test_reset_mask_restarts_only_those_worlds(counting):
    counting.reset(seed=0)
    counting.step(np.zeros(4, int))
    options = {"reset_mask": np.array([False, True, False, True])}
    obs, _ = counting.reset(seed=[None, 8, None, 9], options=options)
    assert "reset_mask" in options, "the caller's options are the caller's"
    np.testing.assert_array_equal(obs["count"][:, 0], [1, 0, 1, 0])
    np.testing.assert_array_equal(obs["seed"][:, 0], [0, 8, 2, 9])


def test_expert_skips_worlds_that_are_over(counting):
    counting.reset(seed=0)
    for t in range(5):
        np.testing.assert_array_equal(counting.expert_action(), [t % 3] * 4)
        counting.step(np.zeros(4, int))
    assert counting.expert_action().shape == (4,)  # the fake asserts that nobody asks it after the end


@pytest.mark.parametrize("steps", [3, 5])
def test_snapshot_is_exact(counting, steps):
    counting.reset(seed=3)
    for _ in range(steps):
        before = counting.step(np.zeros(4, int))
    state = counting.get_state()

    def future():
        return [counting.step(np.zeros(4, int)) for _ in range(12)]

    expected = future()
    counting.reset(seed=99)
    obs = counting.set_state(state)
    assert data_equivalence(obs, before[0])
    assert data_equivalence(future(), expected)


def test_snapshot_goes_into_new_worlds_and_keeps_time_limits():
    fns = [lambda: gym.wrappers.OrderEnforcing(gym.wrappers.TimeLimit(IdentityEnv(length=99), 6))] * 2
    ours, theirs = SyncVector(fns), SyncVector(fns)
    ours.reset(seed=1)
    for _ in range(4):
        ours.step(ours.expert_action())
    theirs.set_state(ours.get_state())
    for t in (5, 6, 7):
        a, b = ours.step(np.zeros(2, int)), theirs.step(np.zeros(2, int))
        assert data_equivalence(a, b)
        assert a[3].all() == (t == 6)


def test_snapshot_of_another_number_of_worlds_is_refused(counting):
    counting.reset(seed=0)
    with pytest.raises(ValueError, match="snapshot of 2 worlds cannot be set on 4"):
        counting.set_state({"worlds": [None] * 2})


def test_both_agree_with_gymnasium_on_every_kind_of_space():
    fns = [EverySpaceEnv] * 3
    ours, apart, theirs = SyncVector(fns), SubprocessVector(fns, workers=2), SyncVectorEnv(fns)
    try:
        first = [env.reset(seed=5) for env in (ours, apart, theirs)]
        assert data_equivalence(first[0], first[1])
        assert data_equivalence(first[0][0], first[2][0])
        for _ in range(6):
            a, b, c = (env.step(np.array([0, 1, 2])) for env in (ours, apart, theirs))
            assert data_equivalence(a, b)
            assert data_equivalence(a[0], c[0])
            assert all(map(data_equivalence, a[1:4], c[1:4]))
        assert ours.observation_space == theirs.observation_space
        assert ours.observation_space.contains(a[0])
    finally:
        apart.close()


@pytest.mark.parametrize("kind", ["sync", "subprocess"])
def test_continuous_actions(kind):
    env = build(kind, [lambda: IdentityEnv(continuous=True)] * 2, workers=1)
    try:
        obs, _ = env.reset(seed=0)
        _, reward, *_ = env.step(obs["shown"])
        np.testing.assert_array_equal(reward, 0)
        with pytest.raises(ValueError, match=r"\(3, 2\); 2 worlds need \(2, 2\)"):
            env.step(np.zeros((3, 2)))
    finally:
        env.close()


def test_call_get_and_set_attributes_and_render(counting):
    counting.reset(seed=0)
    assert counting.call("expert_action") == (0, 0, 0, 0)
    counting.set_attr("length", [1, 5, 5, 5])
    assert counting.get_attr("length") == (1, 5, 5, 5)
    counting.set_attr("length", 5)
    assert counting.get_attr("length") == (5, 5, 5, 5)
    assert [frame.shape for frame in counting.render()] == [(8, 8, 3)] * 4


def test_bad_arguments_are_named(counting):
    with pytest.raises(ValueError, match="2 seeds for 4 worlds"):
        counting.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="reset_mask"):
        counting.reset(options={"reset_mask": np.zeros(4, bool)})


# Errors


@pytest.mark.parametrize("kind", ["sync", "subprocess"])
def test_an_exception_arrives_whole_and_the_worlds_remain_usable(kind):
    env = build(kind, [lambda: CountingEnv(broken="raise", broken_seed=6)] * 4, workers=2)
    try:
        env.reset(seed=[4, 5, 6, 7])
        with pytest.raises(ValueError, match="the simulator broke") as caught:
            play(env, 5)
        assert "world 2, seed 6, step 3" in "".join(caught.value.__notes__)
        if kind == "subprocess":
            assert isinstance(caught.value.__cause__, WorkerTraceback)
            assert "_break" in str(caught.value.__cause__), "the worker's own traceback"
        obs, _ = env.reset(seed=[0, 1, 2, 3])
        assert not obs["count"].any()
    finally:
        env.close()


def test_an_exception_that_cannot_travel_becomes_a_worker_error():
    env = SubprocessVector([lambda: CountingEnv(broken="odd_error")])
    try:
        env.reset(seed=0)
        with pytest.raises(WorkerError, match="seed 0, step 3") as caught:
            play(env, 3)
        assert Unpicklable.__name__ in str(caught.value.__cause__)
    finally:
        env.close()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_worker_is_named_and_no_process_is_left():
    env = SubprocessVector([CountingEnv] * 2, workers=2)
    pids = [process.pid for process in env._workers.processes]
    env.reset(seed=0)
    os.kill(pids[1], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 \(world 1 of .*\) died during step \(SIGKILL\)"):
        env.step(np.zeros(2, int))
    assert time.monotonic() - began < 10
    assert all(map(gone, pids))
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.step(np.zeros(2, int))


def test_a_stuck_worker_is_given_up():
    env = SubprocessVector([lambda: CountingEnv(broken="hang")])
    pid = env._workers.processes[0].pid
    env.reset(seed=0)
    env._workers.timeout = 0.5
    with pytest.raises(WorkerError, match=r"has not answered step for 0.5 s"):
        play(env, 3)
    assert gone(pid)


def test_an_environment_that_cannot_be_made_says_so_and_leaves_nothing():
    def broken():
        raise FileNotFoundError("scene.glb is not there")

    with pytest.raises(FileNotFoundError, match=r"scene\.glb"):
        SubprocessVector([broken])


def test_close_ends_every_process():
    env = SubprocessVector([CountingEnv] * 2, workers=1)
    pids = [process.pid for process in env._workers.processes]
    env.close()
    assert all(map(gone, pids))
    env.close()


def test_a_space_without_fixed_shape_is_refused_by_name():
    class Talking(CountingEnv):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Dict({"mission": spaces.Text(20)})

    with pytest.raises(TypeError, match='"mission" is a Text space'):
        SyncVector([Talking])


# make


def test_make_chooses_and_refuses():
    env = make("CartPole-v1", 2, "sync")
    assert isinstance(env, SyncVector)
    assert env.spec.id == "CartPole-v1"
    native = make("CartPole-v1", 3, "native")
    assert native.num_envs == 3
    assert not isinstance(native, SyncVector), "CartPole has a simulator of N worlds"
    named = make("CartPole-v1", 3)
    assert isinstance(named, SyncVector), "whose observations have no names"
    assert list(named.single_observation_space) == ["state"]
    assert isinstance(make("Acrobot-v1"), SyncVector), "and Acrobot has none"
    with pytest.raises(ValueError, match="no batched simulator"):
        make("Acrobot-v1", 2, "native")
    with pytest.raises(ValueError, match="choose auto"):
        make("CartPole-v1", 2, "async")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one environment"):
        make("CartPole-v1", 0)
    with pytest.raises(gym.error.NameNotFound, match="CartPole"):
        make("CartPol-v1")
    with pytest.raises(AttributeError, match="get_state"):
        env.get_state()


def test_what_a_worker_answers():
    """The worker's side of the pipe, run here: what it is told is waiting before it begins."""
    ours, theirs = multiprocessing.Pipe()
    layout = [((2, 1), np.dtype(np.float32)), ((2, 1), np.dtype(np.int64)), ((2,), np.dtype(float))]
    layout += [((2,), np.dtype(bool))] * 2 + [((2,), np.dtype(np.int64))]
    memory = workers._allocate(layout)
    told = [("attach", (memory.name, layout, slice(0, 2))), ("reset", ([6, 7], None, [True, True])), ("step", ())]
    told += [("step", ()), ("step", ()), ("expert_action", ()), ("nothing", ()), ("close", ())]
    for message in told:
        ours.send(message)
    handler = signal.getsignal(signal.SIGINT)
    try:
        fns = cloudpickle.dumps([lambda: CountingEnv(broken="odd_error", broken_seed=7)] * 2)
        workers._work(theirs, fns, 4)
    finally:
        signal.signal(signal.SIGINT, handler)
    answers = [ours.recv() for _ in told]
    assert answers[0][1]["action_space"] == spaces.Discrete(3)
    assert [answer[0] for answer in answers] == ["ok"] * 5 + ["error", "ok", "error"]
    assert answers[5][1] is None, "the error cannot travel"
    assert "world 5, seed 7, step 3" in answers[5][2]
    assert isinstance(pickle.loads(answers[7][1]), AttributeError)
    arrays = workers._views(memory, layout)
    np.testing.assert_array_equal(arrays[0][:, 0], [3, 2])
    del arrays
    memory.close()
    memory.unlink()

    ours.close()
    theirs.close()


@pytest.mark.parametrize("fns", [b"not a pickle", cloudpickle.dumps([CountingEnv])])
def test_a_worker_ends_with_its_pipe(fns):
    ours, theirs = multiprocessing.Pipe()
    handler = signal.getsignal(signal.SIGINT)
    closing = threading.Timer(0.2, ours.close)
    closing.start()
    try:
        workers._work(theirs, fns, 0)
    finally:
        signal.signal(signal.SIGINT, handler)
    closing.join()
    assert ours.closed


def test_little_shared_memory_is_said_at_once(monkeypatch):
    def full(number, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="enlarge /dev/shm"):
        workers._allocate([((10**6,), np.dtype(float))])


ORPHANS = """
import sys, time
from embodia.envs.vector import SubprocessVector
from embodia.tests.fakes import CountingEnv
env = SubprocessVector([CountingEnv] * 2)
print(*[process.pid for process in env._workers.processes], flush=True)
time.sleep(60)
"""


def test_workers_end_with_a_main_process_that_is_killed():
    main = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    pids = list(map(int, main.stdout.readline().split()))
    assert not any(map(gone, pids))
    main.kill()
    main.wait()
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(map(gone, pids))


WRONG = {
    "bytes contains 300": {"bytes": np.array([1, 300, 2]), "x": 0.0},
    "bytes contains -1": {"bytes": [1, -1, 2], "x": 0.0},
    "bytes contains 0.5": {"bytes": np.array([0.5, 1, 2]), "x": 0.0},
    r"bytes has shape \(1,\); its space has \(3,\)": {"bytes": np.ones(1, np.uint8), "x": 0.0},
    r"x has shape \(1,\); its space has \(\)": {"bytes": np.zeros(3, np.uint8), "x": np.zeros(1)},
    "x contains 1e": {"bytes": np.zeros(3, np.uint8), "x": 1e300},
    "bytes is no array": {"bytes": [[1, 2], [3]], "x": 0.0},
    "x has dtype": {"bytes": np.zeros(3, np.uint8), "x": "far"},
    "the observation lacks x": {"bytes": np.zeros(3, np.uint8)},
}


@pytest.mark.parametrize("said", WRONG)
@pytest.mark.parametrize("kind", ["sync", "subprocess"])
def test_observations_unlike_their_space_are_refused_by_key_world_and_seed(kind, said):
    fine = {"bytes": [1, 2, 3], "x": np.float64(0.5)}
    env = build(kind, [partial(Shown, fine), partial(Shown, WRONG[said])])
    env.reset(seed=4)
    with pytest.raises(ObservationError, match=said) as caught:
        env.step(np.zeros(2, int))
    assert any("world 1, seed 5, step 1" in note for note in caught.value.__notes__)
    env.close()


def test_numbers_that_fit_their_space_arrive():
    env = SyncVector([lambda: Shown({"bytes": [1, 2, 255], "x": np.float64(0.5)})])
    env.reset(seed=0)
    obs = env.step(np.zeros(1, int))[0]
    np.testing.assert_array_equal(obs["bytes"], [[1, 2, 255]])
    assert obs["bytes"].dtype == np.uint8
    assert obs["x"].dtype == np.float32


@pytest.mark.parametrize("value", ["yes", np.zeros(2), None])
def test_a_score_that_is_no_number_is_named_with_world_and_seed(value):
    class Scoring(CountingEnv):
        def step(self, action):
            return (*super().step(action)[:-1], {"metrics": {"spl": value}})

    env = SyncVector([Scoring] * 2)
    env.reset(seed=3)
    with pytest.raises(MetricsError, match=r"""info\["metrics"\]\['spl'\] is""") as caught:
        play(env, 5)
    assert any("world 0, seed 3, step 5" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("metrics", [[1.0], 3, "yes", {1: 2.0}])
def test_scores_that_are_no_dict_of_names_are_named_with_world_and_seed(metrics):
    class Scoring(CountingEnv):
        def step(self, action):
            return (*super().step(action)[:-1], {"metrics": metrics})

    env = SyncVector([Scoring] * 2)
    env.reset(seed=3)
    with pytest.raises(MetricsError, match=r"""info\["metrics"\] is .*dict of names and numbers""") as caught:
        play(env, 5)
    assert any("world 0, seed 3, step 5" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("env_id", ["embodia/MiniGrid-DoorKey-5x5-v0", "embodia/Wall-v0", "embodia/PointNav-v0"])
def test_a_time_limit_around_our_worlds_leaves_their_scores(env_id):
    env = make(env_id, 2, "sync", max_episode_steps=5)
    env.reset(seed=0)
    turn = 2 if isinstance(env.single_action_space, spaces.Discrete) else 0  # which ends no episode
    actions = np.full((2, *env.single_action_space.shape), turn, env.single_action_space.dtype)
    for _ in range(5):
        *_, truncated, infos = env.step(actions)
    assert truncated.all()
    assert infos["_metrics"].all()
    assert set(infos["metrics"]) >= set(env.metadata["scores"])
    alone = gym.make(env_id, max_episode_steps=5)
    alone.reset(seed=0)
    for _ in range(5):
        *_, truncated, info = alone.step(actions[0])
    assert truncated
    assert set(info["metrics"]) == {name for name in infos["metrics"] if not name.startswith("_")}
