"""Tests that a wheel installs only `embodia`, and works beside other packages with our folders' names."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "build", "runs", "datasets", "*.egg-info", "__pycache__", "tests", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy, so that no files are left in the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place), "."]
    subprocess.run(command, cwd=place / "source", check=True, capture_output=True)
    (made,) = place.glob("*.whl")
    return made


def test_the_wheel_holds_one_package_with_every_module(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"embodia"}
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"embodia"}
    for folder in ("agents", "envs", "perception", "planners", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".css"):
                assert f"embodia/{path.relative_to(ROOT)}" in names
    assert "embodia/py.typed" in names
    assert not [name for name in names if name.startswith("embodia/tests")]


def test_the_wheel_works_beside_another_package_called_agents(wheel, tmp_path):
    """OpenAI's SDK is imported as `agents`; a substitute is installed next to embodia."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Runner: pass")
    program = (
        "import embodia, embodia.agents, agents; from agents import Runner\n"
        "print(embodia.__file__); embodia.make('MiniGrid-Empty-5x5-v0', num_envs=2).reset(seed=0)\n"
        "from embodia.scripts.main import main; raise SystemExit(main(['list', 'presets']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert "ppo-empty" in done.stdout
