"""A scene file as it was understood: what the lines and the picture say of a house of known shape."""

import cv2
import numpy as np
import pytest
import trimesh

from embodia.envs.homes.inspection import INSIDE, OUTSIDE, inspect
from embodia.scripts.commands.doctor import main as doctor
from embodia.scripts.mistake import Mistake

PARTS = [
    ((-6, -0.3, -6), (14, -0.1, 12)),
    ((0, -0.2, 0), (8, 0, 6)),
    ((0, 2.5, 0), (8, 2.7, 6)),
    ((0, 0, 0), (8, 2.5, 0.2)),
    ((0, 0, 5.8), (8, 2.5, 6)),
    ((0, 0, 0), (0.2, 2.5, 6)),
    ((7.8, 0, 0), (8, 2.5, 6)),
]


@pytest.fixture
def house(tmp_path):
    mesh = trimesh.util.concatenate([trimesh.creation.box(bounds=bounds) for bounds in PARTS])
    path = tmp_path / "house.glb"
    path.write_bytes(trimesh.Scene(mesh).export(file_type="glb"))
    return path


def area(image, colour):
    """Pixels of the first panel in a colour."""
    return int((image[:, : image.shape[1] // 3] == colour).all(axis=-1).sum())


def test_lines_and_picture_of_a_house_with_a_garden(house):
    lines, image = inspect(house)
    text = "\n".join(lines)
    assert "frame     +y points up, as in .glb files without a stage config" in text
    assert "size      20.00 m along x, 18.00 m along z, 3.00 m high" in text
    assert "labels    none" in text
    assert sum(line.startswith("*") and "100 % under a ceiling" in line for line in lines) == 1
    assert image.shape[1] == 3 * (image.shape[0] - 26)
    assert area(image, OUTSIDE) / area(image, INSIDE) == pytest.approx((20 * 18 - 8 * 6) / (7.4 * 5.4), rel=0.1)


def test_a_house_on_its_side_is_seen(house):
    lines, _ = inspect(house, up="z")
    assert "frame     +z points up, as asked for" in lines
    assert "size      20.00 m along x, 3.00 m along z, 18.00 m high" in lines


def test_another_island_can_be_drawn(house):
    lines, image = inspect(house, island=0)
    assert "episodes  on island 0; --island chooses another" in lines
    assert area(image, INSIDE) > 100 * 100


def test_doctor_writes_the_picture(house, tmp_path, capsys):
    out = tmp_path / "seen.png"
    assert doctor(["--scene", str(house), "--out", str(out)]) == 0
    assert f"picture   {out}" in capsys.readouterr().out
    assert np.ptp(cv2.imread(str(out))) > 100
    for name in ("seen.nothing", "nowhere/seen.png"):
        with pytest.raises(Mistake, match="cannot be written; --out names another file"):
            doctor(["--scene", str(house), "--out", str(tmp_path / name)])
