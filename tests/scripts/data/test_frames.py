"""Data for pretraining from episodes, images and videos, and the shuffle buffer."""

import cv2
import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.training.rows import EpisodeWriter
from embodia.scripts.data.frames import BadFile, Episodes, Films, Pictures, Pool, middle_square, source
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.video import write

SPACE = spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float32), "depth": spaces.Box(0.0, 1.0, (16, 16, 1), np.float32)})


def episodes(folder, lengths=(5, 3)):
    """Depth of row t of episode e is (10 e + t) / 100."""
    writer = EpisodeWriter(folder, "Toy-v0", SPACE, spaces.Discrete(2))
    for e, n in enumerate(lengths):
        depth = np.broadcast_to(((10 * e + np.arange(n)) / 100).reshape(n, 1, 1, 1), (n, 16, 16, 1)).astype(np.float32)
        flags = {"first": np.arange(n) == 0, "last": np.arange(n) == n - 1, "terminal": np.zeros(n, bool)}
        obs = {"x": np.zeros((n, 2), np.float32), "depth": depth}
        reward, action = np.zeros(n, np.float32), np.zeros(n, np.int64)
        writer.write({"obs": obs, "reward": reward, **flags, "action": action, "extras": {}}, e)
    return folder


def told(clip):
    return [round(100 * float(frame.mean())) for frame in clip]


def test_clips_of_episodes_never_cross_an_end(tmp_path):
    found = source(episodes(tmp_path / "data" / "rows").parent, frames=2, gap=2)
    assert isinstance(found, Episodes)
    assert found.space == spaces.Dict({"depth": SPACE["depth"]})
    assert [told(clip) for clip in found.clips(0)] == [[0, 2], [1, 3], [2, 4]]
    assert [told(clip) for clip in found.clips(1)] == [[10, 12]]
    assert [told(clip) for clip in found.clips(0, 2)] == [[2, 4]]
    with pytest.raises(Mistake, match="smell is not among the recorded images"):
        Episodes(tmp_path / "data" / "rows", key="smell")


def test_pictures_of_episodes_are_scaled_as_others_are(tmp_path):
    found = source(episodes(tmp_path), episode_size=8)
    assert found.space == spaces.Dict({"depth": spaces.Box(0.0, 1.0, (8, 8, 1), np.float32)})
    assert [(clip.shape, told(clip)) for clip in found.clips(1)] == [((1, 8, 8, 1), [10 + t]) for t in range(3)]


def test_the_middle_square_is_taken_and_depth_is_never_mixed():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:16], wide[:, 16:24] = 100, 200  # the halves of the central square
    small = middle_square(wide, 4)
    assert small.shape == (4, 4, 3)
    assert (small[:, :2] == 100).all()
    assert (small[:, 2:] == 200).all()
    edge = np.where(np.arange(17) < 9, 0.1, 0.9).astype(np.float32)
    depth = middle_square(np.broadcast_to(edge[:, None], (17, 17, 1)), 4)
    assert set(np.unique(depth).tolist()) == set(np.unique(edge).tolist())
    turned = wide[:, 8:24, ::-1]
    same = middle_square(turned, 16)
    assert (same == turned).all()
    assert same.flags.c_contiguous  # torch supports no negative strides


def test_what_cannot_be_read_is_passed_over_once_and_the_others_go_on(tmp_path, capsys):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 50 * (i + 1), np.uint8))
    (tmp_path / "1.png").write_bytes(b"not a picture")
    pool = Pool(Pictures(tmp_path, 16), 8)
    seen = {int(picture.mean()) for _ in range(6) for picture in pool.batch(4)["obs"]["rgb"][0]}
    assert seen == {50, 150}
    assert [path.rsplit("/")[-1] for path in pool.skipped] == ["1.png"]
    assert capsys.readouterr().err.count("skipped") == 1
    with pytest.raises(BadFile, match=r"1\.png: cannot be decoded as an image"):
        next(Pictures(tmp_path, 16).clips(1))


def test_a_small_data_set_is_held_whole_and_a_large_one_streams_every_clip_once(tmp_path):
    files = Episodes(episodes(tmp_path, (6, 6, 6)))
    whole = Pool(files, capacity=100)
    assert whole.batch(18)["obs"]["depth"].shape == (1, 18, 16, 16, 1)
    assert whole.whole
    assert sorted(told(whole.batch(18)["obs"]["depth"][0])) == [10 * e + t for e in range(3) for t in range(6)]

    streamed = Pool(files, capacity=5, seed=3)
    drawn = [told(streamed.batch(1)["obs"]["depth"][0])[0] for _ in range(18 - 5)]
    assert not streamed.whole
    held = [told(clip)[0] for clip in streamed.clips]
    assert sorted(drawn + held) == [10 * e + t for e in range(3) for t in range(6)]
    assert drawn != sorted(drawn)


@pytest.mark.parametrize("capacity", [5, 100])
def test_a_pool_goes_on_where_it_stood(tmp_path, capacity):
    files = Episodes(episodes(tmp_path, (6, 6, 6)), frames=2)
    pool = Pool(files, capacity, seed=1)
    for _ in range(7):
        pool.batch(3)
    state = pool.state_dict()
    assert not any(isinstance(value, np.ndarray) and value.dtype == np.float32 for value in state.values())
    after = [told(pool.batch(3)["obs"]["depth"][0]) for _ in range(9)]
    again = Pool(files, capacity, seed=1)
    again.load_state_dict(state)
    assert [told(again.batch(3)["obs"]["depth"][0]) for _ in range(9)] == after
    (tmp_path / "episode-000003.npz").write_bytes((tmp_path / "episode-000000.npz").read_bytes())
    with pytest.raises(Mistake, match="the data files differ"):
        Pool(Episodes(tmp_path, frames=2), capacity, seed=1).load_state_dict(state)


def test_films_stream_and_a_broken_one_does_not_stop_the_others(tmp_path):
    for i in range(2):
        write(tmp_path / f"{i}.mp4", [np.full((32, 48, 3), 100 * i + t, np.uint8) for t in range(20)], fps=10)
    (tmp_path / "2.mp4").write_bytes((tmp_path / "0.mp4").read_bytes()[:400])
    films = source(tmp_path, frames=2, gap=3, size=16, fps=10)
    assert isinstance(films, Films)
    pool = Pool(films, 16)
    clips = pool.batch(12)["obs"]["rgb"]
    assert clips.shape == (2, 12, 16, 16, 3)
    apart = clips[1].mean((1, 2, 3)) - clips[0].mean((1, 2, 3))
    np.testing.assert_allclose(apart, 3, atol=1.5)
    for _ in range(5):
        pool.batch(12)
    assert [path.rsplit("/")[-1] for path in pool.skipped] == ["2.mp4"]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(Mistake, match="no such path"):
        source(tmp_path / "no")
    with pytest.raises(Mistake, match="no episode"):
        source(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(Mistake, match="single images have no next frame"):
        source(tmp_path, frames=2)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(Mistake, match="no clip in any of 1 files"):
        Pool(source(tmp_path)).batch(2)
