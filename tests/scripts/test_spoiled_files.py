"""Damaged runs, episodes and images end in one line that names the file, whatever their decoders raise.

A hundred inputs of each kind in the fast suite, a thousand in the slow one; the seed is fixed.
"""

import io
import json
import os
import random
import shutil
import zipfile

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from embodia.agents import Row
from embodia.agents.training import checkpoint
from embodia.agents.training.rows import EpisodeError, EpisodeWriter, read_episode, read_header
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.stored import write
from embodia.scripts.data import recordings
from embodia.scripts.data.frames import BadFile, Pictures, Pool, Together, read_picture, source
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import preset

COUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]
WRONG = (None, True, -1, 10**30, 0.5, float("nan"), float("inf"), "", "x", [], {}, [[]], {"kind": "Config"}, ["a"] * 3)


def spoiled_bytes(rng, content):
    """Content with a few bytes changed, cut off, repeated or removed."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(len(data), 1))
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + rng.randint(1, 40)]
        elif kind == 3:
            data[at:at] = data[: rng.randint(1, 40)]
        else:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"])
    return bytes(data)


def spoiled_json(rng, value):
    """The same JSON with one value, at any depth, replaced, renamed or removed."""
    value = json.loads(json.dumps(value))
    places = []

    def collect(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                collect(node[key])

    collect(value)
    node, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0 and isinstance(node, dict):
        node["unheard_of"] = node.pop(key)
    elif kind == 1:
        del node[key]
    else:
        node[key] = rng.choice(WRONG)
    return value


def refusal(error, call, *arguments):
    """The message of `error` if the call raises it, else None; any other exception fails the test."""
    try:
        call(*arguments)
    except error as caught:
        return str(caught)
    return None


@pytest.mark.parametrize("count", COUNTS)
def test_a_spoiled_config_is_one_mistake(tmp_path, count):
    path = tmp_path / runs.CONFIG
    write(preset("dagger-doorkey"), path, preset="dagger-doorkey")
    whole = json.loads(path.read_text())
    rng, refused = random.Random(0), 0
    for i in range(count):
        if i % 2:
            path.write_text(json.dumps(spoiled_json(rng, whole)))
        else:
            path.write_bytes(spoiled_bytes(rng, json.dumps(whole).encode()))
        said = refusal(Mistake, runs.config, tmp_path)
        refused += said is not None
        assert said is None or any(part in said for part in (runs.CONFIG, "own classes", "env.id"))
    assert refused > count / 2


def test_a_value_of_the_wrong_type_names_file_and_field(tmp_path):
    write(preset("dagger-doorkey"), tmp_path / runs.CONFIG)
    data = json.loads((tmp_path / runs.CONFIG).read_text())
    data["config"]["schedule"]["steps"] = "many"
    (tmp_path / runs.CONFIG).write_text(json.dumps(data))
    with pytest.raises(Mistake, match=r"config\.json: config\.schedule\.steps is 'many'; it must be int"):
        runs.config(tmp_path)


class Weightless:
    observation_space, action_space = spaces.Dict(x=spaces.Box(-1, 1, (3,), np.float32)), spaces.Discrete(3)

    def save(self, folder):
        (folder / "agent.safetensors").write_bytes(b"weights")


def opened(path):
    found = checkpoint.load(path)
    checkpoint.check_fits(found, Weightless())
    found.training()


@pytest.mark.parametrize("count", COUNTS)
def test_a_spoiled_checkpoint_is_one_error(tmp_path, count):
    path = checkpoint.save(tmp_path, 7, Weightless(), {"a": np.arange(3)}, {"score": 0.5, "better": "higher"})
    files = {each.name: each.read_bytes() for each in path.iterdir()}
    rng, refused = random.Random(0), 0
    for _ in range(count):
        name = rng.choice(list(files))
        if name == "meta.json":
            (path / name).write_text(json.dumps(spoiled_json(rng, json.loads(files[name]))))
        else:
            (path / name).write_bytes(spoiled_bytes(rng, files[name]))
        checkpoint.merit(path)
        said = refusal(checkpoint.CheckpointError, opened, path)
        refused += said is not None
        assert said is None or str(path) in said
        (path / name).write_bytes(files[name])
    assert refused > count / 2


@pytest.fixture
def episode(tmp_path):
    """The file of a recorded episode of four rows."""
    space = spaces.Dict(rgb=spaces.Box(0, 255, (4, 4, 3), np.uint8), x=spaces.Box(-1, 1, (2,), np.float32))
    writer = EpisodeWriter(tmp_path / "rows", "Some-v0", space, spaces.Discrete(3))
    flags = np.arange(4)
    return writer.write(
        Row(
            obs={"rgb": np.zeros((4, 4, 4, 3), np.uint8), "x": np.zeros((4, 2), np.float32)},
            reward=np.zeros(4, np.float32),
            first=flags == 0,
            last=flags == 3,
            terminal=flags == 3,
            action=np.zeros(4, np.int64),
            extras={},
        ),
        seed=3,
    )


@pytest.mark.parametrize("count", COUNTS)
def test_a_spoiled_episode_is_one_error(episode, count):
    whole = episode.read_bytes()
    with zipfile.ZipFile(episode) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    rng, refused = random.Random(0), 0
    for i in range(count):
        if i % 2:
            episode.write_bytes(spoiled_bytes(rng, whole))
        else:
            rewritten(rng, parts, episode)
        for read in (read_episode, read_header):
            said = refusal(EpisodeError, read, episode)
            refused += said is not None
            assert said is None or str(episode) in said
    assert refused > count / 2


def rewritten(rng, parts, path):
    """Write the archive again with one member spoiled, renamed, or its header's JSON changed."""
    name = rng.choice(list(parts))
    changed = dict(parts)
    if name == "header.npy":
        header = json.loads(np.load(io.BytesIO(parts[name])).tobytes())
        stream = io.BytesIO()
        np.save(stream, np.frombuffer(json.dumps(spoiled_json(rng, header)).encode(), np.uint8))
        changed[name] = stream.getvalue()
    elif rng.random() < 0.2:
        changed[f"x{name}"] = changed.pop(name)
    else:
        changed[name] = spoiled_bytes(rng, parts[name])
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in changed.items():
            archive.writestr(each, content)


def test_an_episode_that_unpacks_to_gigabytes_is_refused_at_once(episode):
    with zipfile.ZipFile(episode, "a", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("obs/bomb.npy")
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(b"\0" * 1000)
        archive.getinfo("obs/bomb.npy").file_size = 2**40
        archive._didModify = True
    with pytest.raises(EpisodeError, match="unpacks to 1024 GiB"):
        read_episode(episode)


def images(folder):
    """An image of each format, as bytes."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
    found = {}
    for suffix in ("png", "jpg", "bmp", "webp"):
        path = folder / f"whole.{suffix}"
        picture.save(path)
        found[suffix] = path.read_bytes()
        path.unlink()
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_a_spoiled_image_is_read_or_named(tmp_path, count):
    found, rng = images(tmp_path), random.Random(0)
    for i in range(count):
        suffix = list(found)[i % len(found)]
        path = tmp_path / f"spoiled.{suffix}"
        path.write_bytes(spoiled_bytes(rng, found[suffix]))
        said = refusal(BadFile, read_picture, path, 16)
        assert said is None or str(path) in said


def test_half_a_jpeg_is_bad(tmp_path):
    content = images(tmp_path)["jpg"]
    path = tmp_path / "half.jpg"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile, match=r"half\.jpg: cannot be decoded"):
        read_picture(path, 16)


def test_an_image_of_ten_gigapixels_is_refused_before_it_is_decoded(tmp_path):
    content = bytearray(images(tmp_path)["bmp"])
    content[18:26] = (100_000).to_bytes(4, "little") * 2
    path = tmp_path / "bomb.bmp"
    path.write_bytes(content)
    with pytest.raises(BadFile, match="DecompressionBombError"):
        read_picture(path, 16)


def test_a_pipe_among_images_is_skipped_and_the_others_are_read(tmp_path, capsys):
    (tmp_path / "fine.png").write_bytes(images(tmp_path)["png"])
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    pool = Pool(Pictures(tmp_path, 16), capacity=4)
    assert pool.batch(2)["obs"]["rgb"].shape == (1, 2, 16, 16, 3)
    assert {path.rsplit("/", 1)[-1] for path in pool.skipped} == {"pipe.png", "broken.png"}
    said = capsys.readouterr().err
    assert "is no regular file" in said
    assert "broken.png" in said


def test_orientation_single_images_and_grey_of_16_bits(tmp_path):
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    path = tmp_path / "phone.png"
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    np.testing.assert_array_equal(read_picture(path, 16), upright)
    assert [each.name for each in source(path, size=16).files] == ["phone.png"]
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((16, 16), 0x8012, np.uint16)).save(grey)
    assert (read_picture(grey, 16) == 0x80).all()


def test_images_beside_videos_are_read_too(tmp_path):
    from embodia.scripts.report import video

    (tmp_path / "still.png").write_bytes(images(tmp_path)["png"])
    video.write(tmp_path / "moving.mp4", np.zeros((8, 32, 32, 3), np.uint8), fps=5)
    both = source(tmp_path, size=16)
    assert isinstance(both, Together)
    assert [path.name for path in both.files] == ["moving.mp4", "still.png"]
    assert [len(list(both.clips(i))) for i in range(2)] == [8, 1]
    assert len(source(tmp_path, frames=2, size=16).files) == 1, "single images have no next frame"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The same episodes as LeRobotDataset and as Minari data set, and the spaces of their environment."""
    out = tmp_path_factory.mktemp("exported") / "data"
    flags = ["--episodes", "2", "--to", "minari", "lerobot", "--name", "toy-v0", "--out", str(out)]
    assert main(["collect", "random", "--env", "MiniGrid-Empty-5x5-v0", *flags]) == 0
    env = build.worlds(EnvConfig("embodia/MiniGrid-Empty-5x5-v0"), "train", 1)
    return {"lerobot": out / "lerobot", "minari": out / "minari" / "toy-v0"}, env


@pytest.mark.parametrize("kind", ["lerobot", "minari"])
@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_spoiled_data_set_is_one_error(exported, tmp_path, kind, count):
    rng = random.Random(5)
    folders, env = exported
    files = sorted(path for path in folders[kind].rglob("*") if path.is_file())
    refused = 0
    for number in range(count):
        copy = tmp_path / str(number)
        shutil.copytree(folders[kind], copy)
        file = copy / rng.choice(files).relative_to(folders[kind])
        how = rng.randrange(8)
        if how == 0:
            file.unlink()
        elif how == 1:
            file.unlink()
            os.mkfifo(file)
        elif file.suffix == ".json" and how < 7:
            file.write_text(json.dumps(spoiled_json(rng, json.loads(file.read_text()))))
        else:
            file.write_bytes(spoiled_bytes(rng, file.read_bytes()))
        try:
            data = recordings.reader(str(copy))
            matched = recordings.Matched(data, env.single_observation_space, env.single_action_space)
            for episode in range(len(matched.lengths)):
                matched.rows(episode)
        except (EpisodeError, Mistake):
            refused += 1
        shutil.rmtree(copy)
    assert refused > count / 5
