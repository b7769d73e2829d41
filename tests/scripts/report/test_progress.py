"""Progress: silent at first, then how much is done and how long the rest takes."""

import time

import pytest

from embodia.scripts.report.progress import Progress, duration, over, patience


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_remaining_time_follows_from_the_time_so_far(clock, capsys):
    for _ in over(range(10), "recording", "episodes"):
        clock[0] += 1.5
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "recording: 2 of 10 episodes, about 12 s left"
    assert said[-1] == "recording: 10 of 10 episodes"
    assert len(said) == 5, "at most one line in two seconds"


def test_short_work_is_silent(clock, capsys):
    for _ in over(iter("abc"), "reading", "files", 3):
        clock[0] += 0.5
    assert capsys.readouterr().err == ""


def test_parts_that_were_done_before_do_not_count_as_fast(clock, capsys):
    progress = Progress("bench", 100, "jobs", done=90)
    assert progress.left() == ""
    clock[0] += 10
    progress.advance()
    assert capsys.readouterr().err == "bench: 91 of 100 jobs, about 2 min left\n"


def test_a_terminal_keeps_one_line_and_clears_it(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for _ in over(range(3), "recording", "episodes"):
        clock[0] += 3
    said = capsys.readouterr().err
    assert "\n" not in said
    assert said.count("\r") == 3


def test_durations_have_a_unit_that_fits():
    assert [duration(each) for each in (8.4, 300, 9000)] == ["8 s", "5 min", "2.5 h"]


def test_long_silence_is_explained(capsys):
    with patience("kernels are compiled", after=5):
        pass
    assert capsys.readouterr().err == ""
    with patience("kernels are compiled", after=0.01, every=0.05):
        time.sleep(0.5)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "kernels are compiled"
    assert said[1].startswith("  ... 0 s")
