"""Videos: they play in browsers, are written atomically, and show the frames."""

import av
import numpy as np
import pytest

from embodia.scripts.report import video


def frames(n, height, width):
    """A red square moves over a green background."""
    for t in range(n):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 1] = 180
        frame[8:24, 4 * t : 4 * t + 16] = (220, 30, 30)
        yield frame


def test_a_browser_plays_it(tmp_path):
    path = video.write(tmp_path / "deep" / "a film.mp4", frames(12, 65, 99), fps=8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == (66, 100)
        assert stream.average_rate == 8
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that it plays while it loads"
    assert [p.name for p in path.parent.iterdir()] == ["a film.mp4"]


def test_colours_and_motion_survive(tmp_path):
    shown = list(frames(12, 64, 96))
    read = video.read(video.write(tmp_path / "x.mp4", shown))
    assert read.shape == (12, 64, 96, 3)
    assert np.abs(read.astype(int) - np.stack(shown)).mean() < 6
    assert read[5, 16, 28, 0] > 180 > 80 > read[5, 16, 60, 0]


def test_a_film_cut_off_leaves_the_old_one_and_no_scraps(tmp_path):
    path = video.write(tmp_path / "x.mp4", frames(3, 32, 64))
    before = path.read_bytes()

    def dying():
        yield from frames(1, 32, 64)
        raise RuntimeError("simulator died")

    with pytest.raises(RuntimeError, match="simulator died"):
        video.write(path, dying())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "second", [np.zeros((32, 66, 3), np.uint8), np.zeros((32, 64, 3), np.float32), np.zeros((32, 64), np.uint8)]
)
def test_a_wrong_frame_is_named(tmp_path, second):
    with pytest.raises(ValueError, match="frame 1 is"):
        video.write(tmp_path / "x.mp4", [np.zeros((32, 64, 3), np.uint8), second])


def test_a_truncated_film_is_named(tmp_path):
    path = video.write(tmp_path / "x.mp4", frames(3, 32, 64))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"x\.mp4 cannot be decoded as a video"):
        video.read(path)
