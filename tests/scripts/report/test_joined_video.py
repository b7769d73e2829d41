"""Several videos as one: whole, in order, in time."""

import numpy as np
import pytest

from embodia.scripts.report import video
from embodia.scripts.report.joined_video import card, join

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
SHAPES = [(32, 48), (32, 48), (40, 60)]
TITLES = [[f"episode {i}", "Empty-8x8", "12 steps"] for i in range(3)]


@pytest.fixture
def films(tmp_path):
    """Three videos of 6, 12 and 18 frames, each of one colour; the last one is larger."""
    return [
        video.write(tmp_path / f"{i}.mp4", [np.full((*shape, 3), colour, np.uint8)] * (6 * (i + 1)), 8)
        for i, (colour, shape) in enumerate(zip(COLOURS, SHAPES))
    ]


def shown(frame, place=(20, 30)):
    """The colour in the middle of a frame, as the number of the video."""
    return int(np.abs(np.array(COLOURS) - frame[place].astype(int)).sum(-1).argmin())


def test_one_after_another_each_after_its_title(films, tmp_path):
    assert join(films, TITLES, tmp_path / "all.mp4", "turns", 120, 8) == 1
    frames = video.read(tmp_path / "all.mp4")
    assert frames.shape == (36 + 3 * 12, 40, 60, 3)
    assert [shown(frames[at]) for at in (12, 17, 30, 41, 54, 71)] == [0, 0, 1, 1, 2, 2]
    for at in (0, 18, 42):
        assert frames[at].mean() < 60, "a dark card"
        assert frames[at].max() > 100, "with text"
    assert frames[15, 1, 1].max() < 60, "a smaller video is centred"


def test_longer_videos_are_sped_up_and_end_with_their_last_frame(films, tmp_path):
    seconds = 8
    faster = join(films, TITLES, tmp_path / "all.mp4", "turns", seconds, 8)
    assert faster == 2
    frames = video.read(tmp_path / "all.mp4")
    assert len(frames) <= seconds * 8
    assert shown(frames[-1]) == 2


def test_side_by_side_until_the_longest_ends(films, tmp_path):
    assert join(films, TITLES, tmp_path / "all.mp4", "grid", 120, 8) == 1
    frames = video.read(tmp_path / "all.mp4")
    assert frames.shape == (18, 80, 120, 3)
    for frame in (frames[0], frames[-1]):
        assert [shown(frame, place) for place in ((20, 30), (20, 90), (60, 30))] == [0, 1, 2]
    assert join(films, TITLES, tmp_path / "fast.mp4", "grid", 1, 8) == 4
    assert len(video.read(tmp_path / "fast.mp4")) <= 8


def test_a_card_holds_its_lines():
    drawn = card(["episode 1 of 3: seed 0", "Empty-8x8", "12 steps", "success 1"], (300, 480))
    rows = np.flatnonzero((drawn.max(-1) > 120).any(1))
    assert 40 < rows.min() < 150
    assert rows.max() < 280
