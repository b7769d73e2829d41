"""Exports: Minari opens them, they follow LeRobot's published schema, and no transition is shifted."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.training.rows import EpisodeError, EpisodeWriter, episode_files
from embodia.scripts.data import to_minari as minari_module
from embodia.scripts.data.to_lerobot import pooled, statistics, to_lerobot
from embodia.scripts.data.to_minari import dataset_root, to_minari
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import video

minari = pytest.importorskip("minari")
pq = pytest.importorskip("pyarrow.parquet")
SCHEMA = json.loads(Path(__file__).with_name("lerobot_v3.schema.json").read_text())
SPACE = spaces.Dict(
    rgb=spaces.Box(0, 255, (33, 48, 3), np.uint8),
    symbolic=spaces.Box(0, 10, (5, 5, 3), np.uint8),
    pose=spaces.Box(-9, 9, (3,), np.float32),
    direction=spaces.Discrete(4),
)
LENGTHS = [4, 7, 2]  # transitions


def rows(transitions, rng, terminal):
    """Row t has reward t and action 10 t; the image gets brighter with t."""
    t = np.arange(transitions + 1)
    last = t == transitions
    return {
        "obs": {
            "rgb": np.broadcast_to((20 * t[:, None, None, None]).astype(np.uint8), (len(t), 33, 48, 3)).copy(),
            "symbolic": rng.integers(0, 11, (len(t), 5, 5, 3), np.uint8),
            "pose": np.stack([t, t, t], 1).astype(np.float32),
            "direction": t % 4,
        },
        "reward": t.astype(np.float32),
        "first": t == 0,
        "last": last,
        "terminal": last & terminal,
        "action": 10 * t,
        "extras": {"expert_action": 10 * t},
    }


@pytest.fixture
def files(tmp_path):
    writer = EpisodeWriter(tmp_path / "rows", "Somewhere-v0", SPACE, spaces.Discrete(100), agent="expert")
    rng = np.random.default_rng(0)
    for i, n in enumerate(LENGTHS):
        words = {"task": "go to the red ball"} if i == 1 else {}
        writer.write(rows(n, rng, terminal=i != 2), seed=40 + i, **words)
    return episode_files(tmp_path / "rows")


def test_minari_opens_it_and_every_transition_is_whole(files, tmp_path):
    path = to_minari(files, tmp_path / "minari", "toy/somewhere-v0")
    assert path.exists()
    with dataset_root(tmp_path / "minari"):
        data = minari.load_dataset("toy/somewhere-v0")
    assert (data.total_episodes, data.total_steps) == (3, sum(LENGTHS))
    assert data.observation_space == SPACE
    for i, episode in enumerate(data.iterate_episodes()):
        n = LENGTHS[i]
        t = np.arange(n)
        np.testing.assert_array_equal(episode.actions, 10 * t)
        np.testing.assert_array_equal(episode.rewards, t + 1, "r_{t+1} belongs to a_t")
        np.testing.assert_array_equal(episode.observations["pose"][:, 0], np.arange(n + 1))
        np.testing.assert_array_equal(episode.terminations, (t == n - 1) & (i != 2))
        np.testing.assert_array_equal(episode.truncations, (t == n - 1) & (i == 2))
        np.testing.assert_array_equal(episode.infos["expert_action"][:-1, 0], 10 * t)


def test_a_dataset_is_never_overwritten(files, tmp_path):
    to_minari(files, tmp_path / "m", "toy/a-v0")
    with pytest.raises(Mistake, match="never overwritten"):
        to_minari(files, tmp_path / "m", "toy/a-v0")
    to_lerobot(files, tmp_path / "l")
    with pytest.raises(Mistake, match="never overwritten"):
        to_lerobot(files, tmp_path / "l")


def test_lerobots_schema_holds(files, tmp_path):
    folder = to_lerobot(files, tmp_path / "out" / "lerobot", fps=10)
    info = json.loads((folder / "meta/info.json").read_text())
    jsonschema.validate(info, SCHEMA)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, sum(LENGTHS), 2)
    assert info["features"]["observation.images.rgb"]["shape"] == [34, 48, 3]
    assert info["features"]["observation.symbolic"]["dtype"] == "uint8", "symbols are no picture"

    data = pq.read_table(folder / info["data_path"].format(chunk_index=0, file_index=0))
    columns = {key for key, feature in info["features"].items() if feature["dtype"] != "video"}
    assert set(data.column_names) == columns
    assert data["index"].to_pylist() == list(range(sum(LENGTHS)))
    assert data["frame_index"].to_pylist() == [t for n in LENGTHS for t in range(n)]
    assert data["action"].to_pylist() == [10 * t for n in LENGTHS for t in range(n)]
    assert data["next.reward"].to_pylist() == [t + 1 for n in LENGTHS for t in range(n)]
    assert data["next.done"].to_pylist() == [t == n - 1 for n in LENGTHS for t in range(n)]
    assert data["observation.pose"].to_pylist()[5] == [1.0, 1.0, 1.0]
    assert np.asarray(data["observation.symbolic"].to_pylist()).shape == (sum(LENGTHS), 5, 5, 3)
    assert data["timestamp"].to_numpy()[6] == np.float32(0.2)

    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks.to_pylist() == [
        {"task_index": 0, "task": "Somewhere-v0"},
        {"task_index": 1, "task": "go to the red ball"},
    ]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert data["task_index"].to_pylist() == [0] * 4 + [1] * 7 + [0] * 2


def test_each_episode_is_found_in_the_data_and_in_the_film(files, tmp_path):
    folder = to_lerobot(files, tmp_path / "lerobot")
    info = json.loads((folder / "meta/info.json").read_text())
    metas = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    key = "observation.images.rgb"
    film = video.read(folder / info["video_path"].format(video_key=key, chunk_index=0, file_index=0))
    assert film.shape == (sum(LENGTHS), 34, 48, 3)
    for number, each in enumerate(metas):
        assert (each["episode_index"], each["length"]) == (number, LENGTHS[number])
        assert each["dataset_to_index"] - each["dataset_from_index"] == LENGTHS[number]
        begin, end = (round(each[f"videos/{key}/{side}_timestamp"] * info["fps"]) for side in ("from", "to"))
        brightness = film[begin:end].mean((1, 2, 3))
        np.testing.assert_allclose(brightness, 20 * np.arange(LENGTHS[number]), atol=4)
    assert metas[1]["stats/action/max"] == [60]
    assert metas[1]["tasks"] == ["go to the red ball"]


def test_pooled_statistics_are_those_of_the_whole(files, tmp_path):
    folder = to_lerobot(files, tmp_path / "lerobot")
    stats = json.loads((folder / "meta/stats.json").read_text())
    action = np.concatenate([10.0 * np.arange(n) for n in LENGTHS])
    assert stats["action"]["mean"] == pytest.approx([action.mean()])
    assert stats["action"]["std"] == pytest.approx([action.std()])
    assert stats["action"]["count"] == [len(action)]
    assert np.shape(stats["observation.images.rgb"]["mean"]) == (3, 1, 1)
    assert 0 <= stats["observation.images.rgb"]["min"][0][0][0] < stats["observation.images.rgb"]["max"][0][0][0] <= 1
    x = np.random.default_rng(0).normal(size=(30, 2))
    parts = pooled([statistics(x[:7], False), statistics(x[7:], False)])
    assert parts["std"] == pytest.approx(x.std(0).tolist())


def test_a_missing_extra_is_one_line(files, tmp_path, monkeypatch):
    def absent(module):
        raise ImportError(module)

    monkeypatch.setattr(minari_module, "import_module", absent)
    with pytest.raises(Mistake, match=r"pip install 'minari>=0\.5\.4'"):
        to_minari(files, tmp_path / "m", "toy/b-v0")


def test_a_corrupt_episode_leaves_no_half_film(files, tmp_path):
    files[1].write_bytes(files[1].read_bytes()[:-40])
    with pytest.raises(EpisodeError, match=files[1].name):
        to_lerobot(files, tmp_path / "lerobot")
    assert not list((tmp_path / "lerobot").rglob("*.mp4"))
