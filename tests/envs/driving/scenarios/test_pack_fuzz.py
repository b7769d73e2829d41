"""Damaged scenario packs: each is read, or refused with one error that names the file."""

import io
import json
import zipfile

import numpy as np
import pytest

from embodia.envs.driving.scenarios.pack import PackError, load_pack, save_pack
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on

ODD = (None, True, -1, 10**30, 2.5, float("nan"), "", "x", [], [None], {}, {"a": 1}, [[1, 2], 3])
DTYPES = ("int8", "uint16", "int64", "float32", "float64", "bool", "complex64", "U3")


@pytest.fixture(scope="module")
def pack(tmp_path_factory, road_map):
    frames = [join(car("x", 30 + k), car("y", 60)) for k in range(21)]
    scenarios = [scenario_on(road_map, ego_history(10, num=21), frames, token=f"{i:016x}") for i in range(2)]
    path = tmp_path_factory.mktemp("pack") / "s.pack"
    save_pack(path, scenarios)
    return path


def leaves(value, path=()):
    """The paths of everything in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from leaves(value[key], (*path, key))


def damaged_json(rng, text):
    index = json.loads(text)
    paths = [path for path in leaves(index) if path]
    *way, last = paths[rng.integers(len(paths))]
    place = index
    for key in way:
        place = place[key]
    if rng.random() < 0.3:
        del place[last]
    else:
        place[last] = ODD[rng.integers(len(ODD))]
    text = json.dumps(index)
    return text if rng.random() < 0.9 else text[: rng.integers(len(text))]


def damaged_array(rng, content):
    array = np.load(io.BytesIO(content))
    how = rng.integers(5)
    if how == 0:
        array = array.astype(DTYPES[rng.integers(len(DTYPES))])
    elif how == 1:
        array = array[: rng.integers(len(array) + 1)] if array.ndim else array
    elif how == 2:
        array = np.repeat(array[..., None], 2, axis=-1)
    elif how == 3 and array.size:
        flat = array.reshape(-1).copy()
        flat[rng.integers(flat.size)] = rng.choice([0, 1, 99, 127])
        array = flat.reshape(array.shape)
    else:
        return content[: rng.integers(len(content))] + bytes(rng.integers(0, 256, 9, np.uint8))
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def damaged(rng, path, out):
    """A copy of a pack with one thing wrong: bytes, an entry that is missing, a value of the index, an array."""
    how = rng.integers(4)
    if how == 0:
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        out.write_bytes(content)
        return
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = "pack.json" if how == 1 else sorted(entries)[rng.integers(len(entries))]
    if how == 2:
        del entries[name]
    elif name == "pack.json":
        entries[name] = damaged_json(rng, entries[name]).encode()
    else:
        entries[name] = damaged_array(rng, entries[name])
    with zipfile.ZipFile(out, "w") as archive:
        for each, content in entries.items():
            archive.writestr(each, content)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_damaged_pack_is_read_or_refused_by_name(pack, tmp_path, count):
    rng, out, said = np.random.default_rng(0), tmp_path / "damaged.pack", []
    for _ in range(count):
        damaged(rng, pack, out)
        try:
            list(load_pack(out))
        except PackError as error:
            said.append(str(error))
    assert len(said) > count / 3
    assert all("damaged.pack" in line and len(line) < 400 for line in said)


def test_an_entry_of_gigabytes_is_refused_at_once(pack, tmp_path):
    out = tmp_path / "bomb.pack"
    with zipfile.ZipFile(pack) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in archive.namelist():
            if name == "scenario0/ego.npy":
                with bomb.open(name, "w", force_zip64=True) as entry:
                    for _ in range(1100):
                        entry.write(bytes(2**20))
            else:
                bomb.writestr(name, archive.read(name))
    with pytest.raises(PackError, match=r"scenario0/ego.npy says it has"):
        load_pack(out)[0]
