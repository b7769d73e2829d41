"""`embodia export`: an exported home can be loaded and used again."""

import numpy as np
import pytest

from embodia.envs.homes.engines.engine import generated_scene
from embodia.envs.homes.files.load import load_scene
from embodia.scripts.commands.export import main
from embodia.scripts.mistake import Mistake


def test_an_exported_home_loads_as_the_home_it_was(tmp_path, capsys):
    assert main(["home-7-low-1", "--out", str(tmp_path)]) == 0
    path = tmp_path / "home-7-low-1.glb"
    assert str(path) in capsys.readouterr().out
    was, loaded = generated_scene("home-7-low-1"), load_scene(path)
    np.testing.assert_allclose(np.ptp(loaded.vertices, axis=0), np.ptp(was.vertices, axis=0), atol=1e-4)  # [m]
    assert {each.category for each in loaded.objects} == {each.category for each in was.objects}
    with pytest.raises(Mistake, match="exists; choose another folder"):
        main(["home-7-low-1", "--out", str(tmp_path)])


def test_what_is_no_generated_home_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(Mistake, match="house is not a generated home"):
        main(["home-7-low-1", "house", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
