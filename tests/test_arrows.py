"""Arrows between the folders run one way; DESIGN: envs and perception import nobody, planners a world's vocabulary."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"agents", "envs", "perception", "planners", "scripts", "tests"}
VOCABULARY = tuple(
    f"embodia.envs.driving.{name}" for name in ("types", "map", "geometry", "segments", "rails", "vehicle", "lqr")
)
ALLOWED = {
    "envs": set(),
    "perception": set(),
    "planners": set(),
    "agents": {"perception", "planners"},
    "scripts": FOLDERS - {"tests"},
}


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_arrows_run_one_way(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imports(path):
            assert name.split(".")[0] not in FOLDERS, f"{path.relative_to(ROOT)} imports {name} without `embodia.`"
            project, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if project != "embodia" or target not in FOLDERS - {folder}:
                continue
            if folder == "planners" and (name + ".").startswith(tuple(v + "." for v in VOCABULARY)):
                continue
            assert target in ALLOWED[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_nothing_is_called_utils():
    forbidden = {"utils.py", "util.py", "common", "base", "helpers.py", "misc.py"}
    for folder in ALLOWED:
        for path in (ROOT / folder).rglob("*"):
            assert path.name not in forbidden, f"{path.relative_to(ROOT)}: name what it is"
