"""Recorded data sets: exact round trips, data sets of other programs, one-line errors for bad data."""

import json
import re
import tracemalloc
import warnings

import cv2
import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents import Pieces
from embodia.agents.references.expert import Expert
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.recorded import RecordedBatches
from embodia.agents.training.rows import EpisodeError, EpisodeWriter, episode_files, flatten, read_episode
from embodia.envs.vector import SyncVector
from embodia.scripts.data import to_minari as minari_module
from embodia.scripts.data.from_lerobot import Recent
from embodia.scripts.data.recordings import Matched, fingerprint, fitted, reader, stamp
from embodia.scripts.data.to_lerobot import to_lerobot
from embodia.scripts.data.to_minari import to_minari
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.video import Video
from embodia.tests.fakes import CountingEnv

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
minari = pytest.importorskip("minari")

SPACE = spaces.Dict(
    rgb=spaces.Box(0, 255, (33, 48, 3), np.uint8),
    symbolic=spaces.Box(0, 10, (5, 5, 3), np.uint8),
    pose=spaces.Box(-9, 9, (3,), np.float32),
    height=spaces.Box(-9, 9, (1,), np.float64),
    direction=spaces.Discrete(4),
    nested=spaces.Dict(deep=spaces.MultiBinary(4)),
)
ACTIONS = {"discrete": spaces.Discrete(7, start=2), "continuous": spaces.Box(-1, 1, (2,), np.float32)}
LENGTHS = [4, 7, 2, 11]  # transitions


def rows(transitions, action_space, rng, terminal, label=0):
    """Random values, except for a smooth image."""
    n = transitions + 1
    t = np.arange(n)
    y, x = np.mgrid[:33, :48]
    done = np.stack([action_space.sample() for _ in t])
    done[-1] = 0  # as in the last row of `evaluate`
    return {
        "obs": {
            "rgb": np.stack([np.stack([3 * x + k, 4 * y + 2 * k, x + y + 5 * k + label], -1) for k in t]).astype(
                np.uint8
            ),
            "symbolic": rng.integers(0, 11, (n, 5, 5, 3), np.uint8),
            "pose": rng.normal(size=(n, 3)).astype(np.float32),
            "height": rng.normal(size=(n, 1)),
            "direction": rng.integers(0, 4, n),
            "nested": {"deep": rng.integers(0, 2, (n, 4), np.int8)},
        },
        "reward": np.where(t == 0, 0, rng.normal(size=n)).astype(np.float32),
        "first": t == 0,
        "last": t == transitions,
        "terminal": (t == transitions) & terminal,
        "action": done,
        "extras": {"expert_action": done[::1] * 1, "value": np.where(t == transitions, 0, rng.normal(size=n))},
    }


@pytest.fixture(params=ACTIONS)
def written(request, tmp_path):
    """Episode files and their action space."""
    space, rng = ACTIONS[request.param], np.random.default_rng(0)
    space.seed(0)
    writer = EpisodeWriter(tmp_path / "rows", "Somewhere-v0", SPACE, space, agent="expert")
    for i, n in enumerate(LENGTHS):
        writer.write(rows(n, space, rng, terminal=i % 2 == 0, label=40 * i), seed=i)
    return episode_files(tmp_path / "rows"), space


def same(found, wrote, picture=0, space=None):
    """Every leaf, bit for bit and type for type; images within `picture` grey levels on average."""
    found, wrote = flatten(found), flatten(wrote)
    assert found.keys() == wrote.keys()
    for name, value in wrote.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        if name == "obs/rgb" and picture:
            assert np.abs(found[name].astype(int) - value).mean() < picture
        elif space is not None and name in ("action", "extras/expert_action"):
            np.testing.assert_array_equal(found[name][:-1], value[:-1], name)
            assert space.contains(found[name][-1]), "the closing action, which means nothing, is one of the space's"
        else:
            np.testing.assert_array_equal(found[name], value, name)


def test_rows_come_back_from_rows(written):
    files, space = written
    data = Matched(reader(str(files[0].parent.parent)), SPACE, space)
    assert data.lengths == [n + 1 for n in LENGTHS]
    assert data.advised
    for i, file in enumerate(files):
        same(data.rows(i), read_episode(file).rows, space=space)


def test_rows_come_back_from_minari_by_path_and_by_name(written, tmp_path, monkeypatch):
    files, space = written
    path = to_minari(files, tmp_path / "minari", "toy/somewhere-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    for name in (str(path), "toy/somewhere-v0"):
        data = Matched(reader(name), SPACE, space)
        assert data.lengths == [n + 1 for n in LENGTHS]
        for i, file in enumerate(files):
            same(data.rows(i), read_episode(file).rows, space=space)


def test_rows_come_back_from_lerobot(written, tmp_path):
    files, space = written
    data = Matched(reader(str(to_lerobot(files, tmp_path / "lerobot"))), SPACE, space)
    assert data.lengths == [n + 1 for n in LENGTHS]
    for i in (2, 0, 3, 1):
        same(data.rows(i), read_episode(files[i]).rows, picture=2, space=space)


def test_an_experts_episodes_come_back(tmp_path, monkeypatch):
    """Episodes as written and exported by `embodia collect expert`."""
    env = SyncVector([CountingEnv] * 2)
    agent = Expert(env.single_observation_space, env.single_action_space)
    writer = EpisodeWriter(tmp_path / "rows", "Counting-v0", agent.observation_space, agent.action_space)
    evaluate(agent, env, range(5), lambda world, seed, row, info, frame: writer.add(row, world, seed))
    files = episode_files(tmp_path / "rows")
    sets = [tmp_path / "rows", to_minari(files, tmp_path / "m", "toy/c-v0"), to_lerobot(files, tmp_path / "l")]
    for path in sets:
        data = Matched(reader(str(path)), agent.observation_space, agent.action_space)
        assert data.advised
        for i, file in enumerate(files):
            same(data.rows(i), read_episode(file).rows)


def test_only_the_keys_asked_for_are_read(written, tmp_path):
    files, space = written
    folder = to_lerobot(files, tmp_path / "lerobot")
    for film in folder.rglob("*.mp4"):
        film.unlink()
    for path in (files[0].parent, folder):
        data = Matched(reader(str(path)), SPACE, space, keys=("pose", "nested"))
        assert flatten(data.rows(1)["obs"]).keys() == {"pose", "nested/deep"}


# Data sets of other programs


def lerobot(folder, films=True, lengths=(6, 4, 9), groups=None, **changes):
    """A folder as LeRobot writes it: two files of data, two cameras (one as images in the table), no last row."""
    rng = np.random.default_rng(1)
    features = {
        "observation.image": {"dtype": "video" if films else "image", "shape": [3, 32, 32], "names": ["c", "h", "w"]},
        "observation.images.wrist": {"dtype": "image", "shape": [16, 16, 3], "names": ["height", "width", "channel"]},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["x", "y"]}},
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
        "language_instruction": {"dtype": "string", "shape": [1], "names": None},
    }
    features |= {name: {"dtype": "int64", "shape": [1]} for name in ("episode_index", "frame_index", "index")}
    features |= {"timestamp": {"dtype": "float32", "shape": [1]}, "task_index": {"dtype": "int64", "shape": [1]}}
    begins = np.cumsum([0, *lengths])
    total, first_file = int(begins[-1]), int(begins[2])
    state = rng.normal(size=(total, 2)).astype(np.float32)
    wrist = rng.integers(0, 256, (total, 16, 16, 3), np.uint8)
    number = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(n) for n in lengths])
    shade = np.broadcast_to((10 * np.arange(total) + 20).astype(np.uint8)[:, None, None, None], (total, 32, 32, 3))
    ends = np.isin(np.arange(total), begins[1:] - 1)

    def cells(pictures):
        return [{"bytes": cv2.imencode(".png", p[:, :, ::-1])[1].tobytes(), "path": None} for p in pictures]

    columns = {
        "observation.images.wrist": cells(wrist),
        "observation.state": list(state),
        "action": list(state * 2),
        "next.reward": (state[:, 0] > 0).astype(np.float32),
        "next.done": ends,
        "next.success": ends & (number == 1),
        "language_instruction": ["push"] * total,
        "episode_index": number,
        "frame_index": frame,
        "index": np.arange(total),
        "timestamp": (frame / 10).astype(np.float32),
        "task_index": np.zeros(total, int),
        **({} if films else {"observation.image": cells(shade)}),
    }
    for name, value in changes.items():
        columns[name], features = value, features
    for name in [name for name, value in changes.items() if value is None]:
        del columns[name], features[name]
    for file, span in enumerate((slice(0, first_file), slice(first_file, total))):
        path = folder / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: pa.array(value[span]) for name, value in columns.items()}), path, groups)
    if films:  # the first episodes of each file in one video, the rest in another
        for file, span in enumerate((slice(0, first_file), slice(first_file, total))):
            with Video(folder / f"videos/observation.image/chunk-000/file-{file:03d}.mp4", 10, crf=12) as film:
                for picture in shade[span]:
                    film.add(picture)
    lines = []
    for i, n in enumerate(lengths):
        file = int(begins[i] >= first_file)
        line = {"episode_index": i, "length": n, "dataset_from_index": int(begins[i]), "tasks": ["push"]}
        line |= {"dataset_to_index": int(begins[i] + n), "data/chunk_index": 0, "data/file_index": file}
        if films:
            since = float(begins[i] - file * first_file) / 10
            line |= {f"videos/observation.image/{part}": value for part, value in
                     {"chunk_index": 0, "file_index": file, "from_timestamp": since}.items()}  # fmt: skip
        lines.append(line | {"stats/action/min": [0.0]})
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(lines), folder / "meta/episodes/chunk-000/file-000.parquet")
    info = {"codebase_version": "v3.0", "fps": 10, "features": features, "total_episodes": len(lengths)}
    info |= {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"}
    info |= {"video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if films else None}
    (folder / "meta/info.json").write_text(json.dumps(info))
    return {"state": state, "wrist": wrist, "shade": 10 * np.arange(total) + 20, "begins": begins}


PUSHT = spaces.Dict(
    image=spaces.Box(0, 255, (32, 32, 3), np.uint8),
    wrist=spaces.Box(0, 255, (16, 16, 3), np.uint8),
    state=spaces.Box(-9, 9, (2,), np.float32),
)
PUSH = spaces.Box(-9, 9, (2,), np.float32)


@pytest.mark.parametrize("films", [True, False])
@pytest.mark.parametrize("groups", [None, 3])
def test_a_lerobot_set_of_others(tmp_path, films, groups):
    """Row groups that hold several episodes or a part of one; videos and images; keys as in PushT."""
    made = lerobot(tmp_path / "pusht", films, groups=groups)
    data = Matched(reader(str(tmp_path / "pusht")), PUSHT, PUSH)
    assert data.lengths == [7, 5, 10]
    assert not data.advised
    for i in (1, 2, 0, 1):
        found = data.rows(i)
        span = slice(made["begins"][i], made["begins"][i + 1])
        closed = {
            name: np.concatenate([made[name][span], made[name][span][-1:]]) for name in ("state", "wrist", "shade")
        }
        np.testing.assert_array_equal(found["obs"]["state"], closed["state"], "the last observation stands twice")
        np.testing.assert_array_equal(found["obs"]["wrist"], closed["wrist"])
        np.testing.assert_allclose(found["obs"]["image"].mean((1, 2, 3)), closed["shade"], atol=2)
        np.testing.assert_array_equal(found["action"][:-1], 2 * made["state"][span])
        np.testing.assert_array_equal(found["reward"], [0, *(made["state"][span, 0] > 0)])
        np.testing.assert_array_equal(np.flatnonzero(found["last"]), [data.lengths[i] - 1])
        assert found["terminal"].any() == (i == 1), "it ended where next.success says so"


def test_row_groups_are_kept_within_bounds():
    recent, made = Recent(10), []

    def get(key, weight):
        return recent.get(key, lambda: made.append(key) or key, lambda value: weight)

    assert [get(key, 4) for key in "abab"] == list("abab")
    assert made == ["a", "b"], "what is held is not read again"
    get("c", 4)
    assert list(recent.values) == ["b", "c"], "the one used longest ago goes first"
    get("d", 99)
    assert list(recent.values) == ["d"], "one is held whatever it weighs"
    get("e", 1)
    assert (list(recent.values), recent.weight) == (["e"], 1)


def test_rewards_and_ends_may_be_missing(tmp_path):
    lerobot(tmp_path / "l", **{"next.reward": None, "next.success": None, "next.done": None})
    with pytest.warns(UserWarning, match=r"there is no next\.reward, so rewards are 0"):
        found = Matched(reader(str(tmp_path / "l")), PUSHT, PUSH).rows(1)
    assert not found["reward"].any()
    assert not found["terminal"].any()
    np.testing.assert_array_equal(np.flatnonzero(found["last"]), [4])


def test_columns_of_another_name(tmp_path):
    made = lerobot(tmp_path / "l")
    space = spaces.Dict(rgb=PUSHT["wrist"], agent=PUSHT["state"])
    with pytest.raises(Mistake, match=re.escape("rgb was not recorded; recorded are observation.image, ")) as caught:
        Matched(reader(str(tmp_path / "l")), space, PUSH)
    assert "--columns rgb=NAME" in str(caught.value)
    columns = {"rgb": "observation.images.wrist", "agent": "observation.state"}
    found = Matched(reader(str(tmp_path / "l")), space, PUSH, columns=columns).rows(0)
    np.testing.assert_array_equal(found["obs"]["rgb"][:-1], made["wrist"][:6])
    with pytest.raises(Mistake, match=r"observation\.eye was not recorded"):
        Matched(reader(str(tmp_path / "l")), space, PUSH, columns={**columns, "rgb": "observation.eye"})


@pytest.mark.parametrize("bare", [True, False])
def test_a_minari_set_of_others(tmp_path, monkeypatch, bare):
    """Observations are an array, or a dict with a text; there are no extras or seeds."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    n, rng = 5, np.random.default_rng(0)
    state = rng.normal(size=(n + 1, 3))
    box = spaces.Box(-9, 9, (3,), np.float64)
    space = box if bare else spaces.Dict(state=box, mission=spaces.Text(9))
    buffer = minari.data_collector.EpisodeBuffer(
        id=0,
        observations=state if bare else {"state": state, "mission": ["go"] * (n + 1)},
        actions=rng.integers(0, 3, n),
        rewards=np.arange(n, dtype=float),
        terminations=np.zeros(n, bool),
        truncations=np.arange(n) == n - 1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "others-v0", [buffer], observation_space=space, action_space=spaces.Discrete(3), data_format="arrow"
        )
    seen = spaces.Dict(state=spaces.Box(-9, 9, (3,), np.float32))
    data = Matched(reader("others-v0"), seen, spaces.Discrete(3))
    assert not data.advised
    found = data.rows(0)
    np.testing.assert_array_equal(found["obs"]["state"], state.astype(np.float32))
    np.testing.assert_array_equal(found["action"], [*buffer.actions, 0])
    np.testing.assert_array_equal(found["reward"], [0, *range(n)])
    assert not found["terminal"].any()
    assert found["extras"] == {}


@pytest.mark.parametrize("kind", ["rows", "minari", "lerobot"])
def test_a_set_larger_than_memory_is_learned_from_within_it(tmp_path, kind):
    """15 MB of images with 1.2 MB of memory, plus the memory to read one episode."""
    picture, n = spaces.Box(0, 255, (64, 64, 3), np.uint8), 20
    writer = EpisodeWriter(tmp_path / "rows", "x-v0", spaces.Dict(rgb=picture), spaces.Discrete(9))
    t = np.arange(n)
    for i in range(60):
        shade = np.broadcast_to(np.uint8(4 * i), (n, 64, 64, 3))
        flags = {"first": t == 0, "last": t == n - 1, "terminal": t == n - 1}
        reward = np.zeros(n, np.float32)
        writer.write({"obs": {"rgb": shade}, "reward": reward, **flags, "action": t * 0 + i % 9, "extras": {}})
    files = episode_files(tmp_path / "rows")
    export = {"minari": lambda: to_minari(files, tmp_path / "m", "toy/large-v0"), "rows": lambda: tmp_path / "rows",
              "lerobot": lambda: to_lerobot(files, tmp_path / "l")}  # fmt: skip
    recorded = Matched(reader(str(export[kind]())), spaces.Dict(rgb=picture), spaces.Discrete(9))
    data = RecordedBatches([recorded], Pieces(8), capacity=100)
    data.batch(8)
    tracemalloc.start()
    shades = set()
    while data.epoch < 1:
        batch = data.batch(8)
        shades |= {round(float(each) / 4) for each in batch["obs"]["rgb"].mean((1, 2, 3))}
        assert len(batch["action"]) == 8
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6, "numpy's arrays are traced"
    assert len(shades) > 55, "all of it was seen"


# Bad data


@pytest.mark.parametrize(
    ("value", "space", "said"),
    [
        (np.zeros((3, 2)), spaces.Box(0, 1, (4,), np.float32), r"x: shape \(2,\), but the environment's is \(4,\)"),
        (np.zeros((3, 4), int), spaces.Box(0, 1, (4,), np.float32), "x: int64, but the environment's is float32"),
        (np.array(["a", "b"]), spaces.Discrete(3), "x: <U1, but the environment's is int64"),
        (np.array([0.0, np.nan]), spaces.Box(0, 1, (1,), np.float32), "x: NaN in row 1"),
        (np.array([0, 1, 7]), spaces.Discrete(3), r"x: 7 is not in Discrete\(3\)"),
        (np.array([[0, 1], [2, 1]]), spaces.MultiDiscrete([2, 2]), r"x: \[2 1\] is not in MultiDiscrete"),
        (np.array([300]), spaces.Box(0, 255, (), np.uint8), "x: 300 is not in Box"),
    ],
)
def test_what_does_not_fit_is_named(value, space, said):
    with pytest.raises(EpisodeError, match=said):
        fitted(value, space, "x")


def test_one_number_may_have_an_axis_or_none():
    assert fitted(np.zeros((5, 1), int), spaces.Discrete(3), "x").shape == (5,)
    assert fitted(np.zeros(5), spaces.Box(0, 1, (1,), np.float32), "x").shape == (5, 1)


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "kitchen" / "mixed-v2" / "data").mkdir(parents=True)
    (tmp_path / "kitchen" / "mixed-v2" / "data" / "metadata.json").write_text("{}")
    with pytest.raises(
        Mistake, match=r"--data kitchen/mixed-v1: .* Did you mean kitchen/mixed-v2\? To download one: `minari"
    ):
        reader("kitchen/mixed-v1")
    with pytest.raises(Mistake, match="no episode-"):
        reader(str(tmp_path))
    with pytest.raises(EpisodeError, match=r"metadata\.json: data_format"):
        reader("kitchen/mixed-v2")


def test_a_missing_extra_is_one_line(written, tmp_path, monkeypatch):
    files, _ = written
    sets = {"minari": to_minari(files, tmp_path / "m", "toy/b-v0"), "pyarrow": to_lerobot(files, tmp_path / "l")}
    metadata = tmp_path / "h/data/metadata.json"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(json.dumps({"data_format": "hdf5"}))

    for package, path in {**sets, "h5py": tmp_path / "h"}.items():

        def absent(module, package=package):
            if module.split(".")[0] == package:
                raise ImportError(module)
            return __import__(module)

        monkeypatch.setattr(minari_module, "import_module", absent)
        with pytest.raises(Mistake, match=f"pip install '{package}>="):
            reader(str(path))


def test_bad_values_name_file_and_field(tmp_path):
    writer = EpisodeWriter(tmp_path, "x", spaces.Dict(pose=SPACE["pose"]), ACTIONS["continuous"])
    good = rows(3, ACTIONS["continuous"], np.random.default_rng(0), True)
    good = {**good, "obs": {"pose": good["obs"]["pose"]}, "extras": {}}
    nan = np.full(4, np.nan, np.float32)
    writer.write({**good, "obs": {"pose": np.where([[0], [0], [1], [0]], np.nan, good["obs"]["pose"]).astype("f4")}})
    writer.write({**good, "reward": nan})
    writer.write({**good, "action": np.where([[0], [1], [0], [0]], np.nan, good["action"]).astype("f4")})
    writer.write({**good, "action": np.where([[0], [0], [0], [1]], np.nan, good["action"]).astype("f4")})
    data = Matched(reader(str(tmp_path)), spaces.Dict(pose=SPACE["pose"]), ACTIONS["continuous"])
    for i, said in enumerate(["pose: NaN in row 2", "reward: not a finite number in row 0", "action: NaN in row 1"]):
        with pytest.raises(EpisodeError, match=rf"episode-00000{i}\.npz: {said}"):
            data.rows(i)
    assert np.isfinite(data.rows(3)["action"]).all(), "the closing action was never carried out"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda p: (p / "data/chunk-000/file-001.parquet").unlink(),
            r"file-001\.parquet: missing, truncated or corrupt",
        ),
        (lambda p: cut(p / "data/chunk-000/file-001.parquet"), r"file-001\.parquet: missing, truncated or corrupt"),
        (
            lambda p: (p / "videos/observation.image/chunk-000/file-001.mp4").unlink(),
            r"file-001\.mp4: cannot be decoded as a video",
        ),
        (lambda p: cut(p / "videos/observation.image/chunk-000/file-001.mp4"), r"file-001\.mp4: "),
        (lambda p: edit(p, codebase_version="v2.1"), r"info\.json: codebase_version v2\.1; convert"),
        (lambda p: edit(p, features={}), r"info\.json: features: action is missing"),
        (lambda p: edit(p, fps=None), r"info\.json: .* missing or malformed"),
        (lambda p: (p / "meta/episodes/chunk-000/file-000.parquet").unlink(), "meta/episodes: no episodes"),
        (lambda p: drop(p / "meta/episodes/chunk-000/file-000.parquet", "length"), "length: missing"),
        (
            lambda p: drop(p / "data/chunk-000/file-001.parquet", "action"),
            r"file-001\.parquet: episode 2: action: missing",
        ),
        (lambda p: shift(p / "data/chunk-000/file-001.parquet"), "episode_index: 9 frames of .*, but meta/episodes"),
    ],
)
def test_a_broken_lerobot_set_names_file_and_field(tmp_path, spoil, said):
    lerobot(tmp_path / "l")
    spoil(tmp_path / "l")
    with pytest.raises(EpisodeError, match=said):
        Matched(reader(str(tmp_path / "l")), PUSHT, PUSH).rows(2)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def edit(folder, **changes):
    path = folder / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def drop(path, name):
    pq.write_table(pq.read_table(path).drop_columns([name]), path)


def shift(path):
    table = pq.read_table(path)
    at = table.column_names.index("episode_index")
    pq.write_table(table.set_column(at, "episode_index", pa.array(np.arange(len(table)))), path)


def test_a_broken_minari_set_names_the_episode(written, tmp_path):
    files, space = written
    path = to_minari(files, tmp_path / "m", "toy/b-v0")
    data = Matched(reader(str(path)), SPACE, space)
    for file in (path / "data" / "2").glob("*.arrow"):
        cut(file)
    data.rows(1)
    with pytest.raises(EpisodeError, match="toy/b-v0: episode 2: cannot be read"):
        data.rows(2)


# What a run stores about its data


def test_the_fingerprint_is_of_what_lies_there(written, tmp_path):
    files, space = written
    folder = files[0].parent
    before = stamp(reader(str(folder)))
    assert (before.episodes, before.rows) == (len(LENGTHS), sum(LENGTHS) + len(LENGTHS))
    assert before.path == str(folder.resolve())
    moved = folder.rename(tmp_path / "elsewhere")
    assert fingerprint(moved) == before.fingerprint
    EpisodeWriter(moved, "Somewhere-v0", SPACE, space).write(read_episode(moved / files[0].name).rows)
    assert fingerprint(moved) != before.fingerprint
    (moved / f"episode-{len(LENGTHS):06d}.npz").unlink()
    assert fingerprint(moved) == before.fingerprint
    (moved / files[1].name).write_bytes((moved / files[1].name).read_bytes()[:-1] + b"x")
    assert fingerprint(moved) != before.fingerprint
