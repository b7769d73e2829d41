"""Captions below frames: legible, of constant size, and never wider than the frame."""

import numpy as np

from embodia.scripts.report.overlay import DIM, INK, LEAST, PAPER, Caption, Strip, draw, words

FRAME = np.full((120, 480, 3), 77, np.uint8)


def caption(**changed):
    return Caption(**{"action": "forward", "reward": 0.0, "total": 0.5, "step": 3, "seed": 7, **changed})


def test_the_picture_is_whole_above_and_the_strip_is_written_below():
    drawn = draw(FRAME, caption())
    assert (drawn[:120] == 77).all()
    strip = drawn[120:]
    assert (strip == PAPER).all(-1).mean() > 0.8
    for colour in (INK, DIM):
        assert (np.abs(strip.astype(int) - colour).max(-1) < 8).any()


def test_every_caption_gives_the_same_size():
    plain = draw(FRAME, caption()).shape
    many = {f"a_long_score_name_{i}": i / 3 for i in range(9)}
    for each in (caption(scores=many), caption(title="t" * 500), caption(action="a" * 500), caption(seed=None)):
        assert draw(FRAME, each).shape == plain


def test_text_ends_before_the_edge():
    drawn = draw(FRAME, caption(action="a" * 500, title="t" * 500, scores={"s" * 90: 1.0}))
    assert (drawn[120:, -6:] == PAPER).all()


def test_small_frames_grow_and_letters_grow_with_large_ones():
    small = draw(np.zeros((56, 56, 3), np.uint8), caption())
    assert small.shape[1] >= LEAST
    assert small.shape[1] % 56 == 0
    assert Strip(960).image.height > 1.6 * Strip(480).image.height


def test_scores_wrap_over_two_lines():
    rows = Strip(480).wrap({f"score_{i}": 0.123 for i in range(8)}, {"score_0": "m"})
    assert len(rows) == 2
    assert rows[0].startswith("score_0 0.123 m   score_1 0.123   score_2")


def test_actions_in_words():
    assert words(np.int64(2), {2: "forward"}) == "forward"
    assert words(np.int64(5)) == "action 5"
    assert words(np.array([0.5, -1.0])) == "[+0.50 -1.00]"
    assert words(np.zeros(20)).endswith("...]")
