"""Tests of the structure: allowed imports between folders, no cycles, small folders, complete list of packages."""

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("agents", "envs", "perception", "planners", "scripts")
VOCABULARY = {
    "perception": ("envs.compiled",),
    "planners": ("envs.compiled", "envs.driving.types", "envs.driving.map", "envs.driving.vehicle"),
}
"""Modules of `envs` that other folders may import: how kernels are compiled, and the vocabulary of roads."""
ALLOWED = {
    "envs": set(),
    "perception": set(),
    "planners": {"perception"},
    "agents": {"perception", "planners"},
    "scripts": {"agents", "envs", "perception", "planners"},
}
MOST_MODULES = 22


def modules():
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imports(path):
    """The project's modules that a file imports, without `embodia.`, each with the name taken from it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    bare = [name for name in names if name.split(".")[0] in (*FOLDERS, "tests")]
    assert not bare, f"{path.relative_to(ROOT)} imports {bare[0]}; write embodia.{bare[0]}"
    return [name.removeprefix("embodia.") for name in names if name.startswith("embodia.")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_arrows_run_one_way(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imports(path):
            target = name.split(".")[0]
            if target == folder or name.startswith(VOCABULARY.get(folder, ())):
                continue
            if folder == "perception" and name.startswith("envs.compiled"):
                continue  # how kernels are compiled
            assert target in ALLOWED[folder], f"{path.relative_to(ROOT)} imports {name}"


def room(name):
    """Return the folder of a dotted name, the deepest one that exists."""
    parts = name.split(".")
    while not (ROOT.joinpath(*parts)).is_dir():
        parts.pop()
    module = ROOT.joinpath(*parts, *name.split(".")[len(parts) : len(parts) + 1]).with_suffix(".py")
    return "/".join(parts) if module.exists() else None


def test_rooms_form_no_cycle():
    """Import graph of the folders, without their `__init__` modules (contracts), which any folder may import."""
    graph = {}
    for path in modules():
        here = str(path.parent.relative_to(ROOT))
        graph.setdefault(here, set()).update({room(name) for name in imports(path)} - {here, None})
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the folders' names


def test_rooms_are_small_and_promise_something():
    for folder in {path.parent for path in modules()}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)} holds {count} modules; give it rooms"
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), f"{folder} promises nothing"


def test_tests_mirror_the_rooms():
    rooms = {str(path.parent.relative_to(ROOT)) for path in modules()}
    for path in (ROOT / "tests").rglob("test_*.py"):
        place = str(path.parent.relative_to(ROOT / "tests"))
        assert place == "." or place in rooms, f"{path.relative_to(ROOT)} mirrors no room"


def test_the_package_list_is_whole():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {"embodia", *(".".join(("embodia", *path.parent.relative_to(ROOT).parts)) for path in modules())}
    assert set(listed) == there, f"pyproject.toml, packages: {sorted(set(listed) ^ there)}"


def test_nothing_is_called_utils():
    forbidden = {"utils.py", "util.py", "common", "base", "helpers.py", "misc.py", "build"}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            assert path.name not in forbidden, f"{path.relative_to(ROOT)}: name what it is"


LOOPS = {
    "agents/training/optimization.py": "the one that trains on data",
    "agents/imitation/bc.py": "an agent's update",
    "agents/reinforcement/dreamer.py": "an agent's update",
    "agents/reinforcement/dqn.py": "an agent's update",
    "agents/reinforcement/mpc.py": "an agent's update",
    "agents/reinforcement/ppo.py": "an agent's update",
    "agents/reinforcement/td_mpc2.py": "an agent's update",
    "perception/generative/flows/gan.py": "two optimizers, one for each player",
    "perception/scores/probe.py": "linear probes, by LBFGS on all data at once",
    "scripts/bench/planning/mpc_peer.py": "times the gradients of another package",
    "scripts/bench/planning/update_rate.py": "times bare updates on noise",
}
"""Modules that may call `backward()`, and why."""


def test_there_is_no_second_training_loop():
    found = {str(path.relative_to(ROOT)) for path in modules() if ".backward()" in path.read_text()}
    assert found == set(LOOPS), "train with agents.training.fit; a rule with optimizers of its own has an `update`"


def test_imports_stay_light():
    program = (
        "import sys, embodia, embodia.envs; "
        "print(sorted({'torch', 'numba', 'scipy', 'minigrid', 'cv2', 'matplotlib', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_bare_name_was_imported():
    found = {name: sys.modules[name] for name in FOLDERS if name in sys.modules}
    ours = [name for name, module in found.items() if str(ROOT) in str(getattr(module, "__file__", ""))]
    assert not ours, f"{ours} were imported without `embodia.`"
