"""Tests of clips: which frames, at what time, and broken files."""

import json

import av
import numpy as np
import pytest

from embodia.envs.video.clips import Sampling, VideoError, clips
from embodia.envs.video.films import films


def film(path, frames=40, fps=10, size=(48, 64), gop=12):
    """Frame t has grey value 5 t, so that an image shows its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast", "g": str(gop)})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for t in range(frames):
            picture = np.full((*size, 3), 5 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def shown(clip):
    """Return the frame numbers encoded in a clip's images."""
    return [round(float(frame.mean()) / 5) for frame in clip.frames]


def test_clips_hold_the_frames_and_times_asked_for(tmp_path):
    path = film(tmp_path / "a.mp4")
    found = list(clips(path, Sampling(frames=3, fps=5, every=2, size=32)))
    assert [shown(clip) for clip in found] == [[4 * i, 4 * i + 2, 4 * i + 4] for i in range(9)]
    assert found[0].frames.shape == (3, 32, 32, 3)
    assert found[0].frames.dtype == np.uint8
    np.testing.assert_allclose(found[2].times, [0.8, 1.0, 1.2])
    assert [clip.number for clip in found] == list(range(9))
    assert next(clips(path, Sampling(size=None))).frames.shape == (8, 48, 64, 3)


def test_seeking_gives_the_same_clips_as_decoding(tmp_path):
    path = film(tmp_path / "a.mp4", gop=7)
    sampling = Sampling(frames=2, fps=4, size=16)
    straight = list(clips(path, sampling))
    for start in (1, 5, len(straight) - 1):
        again = list(clips(path, sampling, start))
        assert [clip.number for clip in again] == list(range(start, len(straight)))
        for one, other in zip(again, straight[start:]):
            assert (one.frames == other.frames).all()
            assert (one.times == other.times).all()


def test_a_slow_film_repeats_its_frames(tmp_path):
    path = film(tmp_path / "slow.mp4", frames=6, fps=2)
    found = list(clips(path, Sampling(frames=1, fps=4, size=16)))
    assert [shown(clip)[0] for clip in found] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_film_shorter_than_a_clip_gives_none(tmp_path):
    assert list(clips(film(tmp_path / "short.mp4", frames=3), Sampling(frames=8, fps=10))) == []


def test_a_film_cut_off_gives_what_it_has_and_then_names_itself(tmp_path):
    path = film(tmp_path / "whole.mp4", frames=50)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    found = []
    with pytest.raises(VideoError, match=r"cut\.mp4: .*copy it again"):
        found.extend(clips(cut, Sampling(frames=2, fps=10, size=16)))
    assert 0 < len(found) < 48


def test_what_is_no_film_is_named(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("noise.mp4", "empty.mp4", "nothing.mp4"):
        with pytest.raises(VideoError, match=name):
            next(clips(tmp_path / name, Sampling()))
    with pytest.raises(ValueError, match="at least 1"):
        Sampling(frames=0)


def test_a_folder_of_films_and_the_ego_exo4d_layout(tmp_path):
    for name in ("b.mp4", "below/a.MP4"):
        film(tmp_path / "plain" / name, frames=2)
    assert [path.name for path in films(tmp_path / "plain")] == ["b.mp4", "a.MP4"]
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="give a folder with videos"):
        films(tmp_path / "none")

    release = tmp_path / "release"
    streams = {"rgb": {"relative_path": "frame_aligned_videos/aria01_214-1.mp4"}}
    exo = {"0": {"relative_path": "frame_aligned_videos/cam01.mp4"}}
    takes = [
        {"take_name": name, "root_dir": f"takes/{name}", "frame_aligned_videos": {"aria01": streams, "cam01": exo}}
        for name in ("cook_1", "bike_2", "not_downloaded_3")
    ]
    takes.append({**takes[0], "take_name": "dropped", "is_dropped": True})
    takes[1]["root_dir"] = "bike_2"  # format of the first release
    best = {"0": {"relative_path": None}}  # as in the documentation's sample, for a missing video
    takes[2]["frame_aligned_videos"] = {"aria01": {"rgb": {"relative_path": None}}, "best_exo": best}
    whole = film(release / "takes/cook_1/frame_aligned_videos/aria01_214-1.mp4", frames=2)
    film(release / "takes/cook_1/frame_aligned_videos/cam01.mp4", frames=2)
    small = film(release / "takes/bike_2/frame_aligned_videos/downscaled/448/aria01_214-1.mp4", frames=2)
    (release / "takes.json").write_text(json.dumps(takes))
    assert films(release) == (whole, small)
    (release / "takes.json").write_text(json.dumps([{"take_name": "x"}]))
    with pytest.raises(VideoError, match=r"takes\.json: 'frame_aligned_videos' is missing"):
        films(release)
