"""`embodia record`: one video per seed, and all of them together."""

import pytest

from embodia.scripts.main import main
from embodia.scripts.report import video

RECORD = ["record", "expert", "--env", "MiniGrid-Empty-Random-5x5-v0", "--seeds", "0", "1", "2"]


@pytest.mark.parametrize("layout", ["turns", "grid"])
def test_episodes_in_one_video(layout, tmp_path, capsys):
    out = tmp_path / "films"
    assert main([*RECORD, "--together", "--layout", layout, "--seconds", "6", "--out", str(out)]) == 0
    each = [video.read(out / f"test-seed-{seed}.mp4") for seed in range(3)]
    joined = video.read(out / "together.mp4")
    assert len(joined) <= 6 * 8
    height, width = each[0].shape[1:3]
    assert joined.shape[1:3] == ((height, width) if layout == "turns" else (2 * height, 2 * width))
    assert "together.mp4  3 episodes" in capsys.readouterr().out


def test_a_duration_that_is_not_positive_is_one_line(tmp_path, capsys):
    assert main([*RECORD, "--together", "--seconds", "0", "--out", str(tmp_path / "films")]) == 2
    assert capsys.readouterr().err == "embodia: --seconds is 0 and --fps 8; both must be above 0\n"
    assert not (tmp_path / "films").exists()
