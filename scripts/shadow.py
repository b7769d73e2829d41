"""Are `agents`, `envs`, `perception` and `planners` this project's, or another's of the same name?"""

import importlib.util
from importlib import metadata
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
FOLDERS = ("agents", "envs", "perception", "planners", "scripts")


def found(name: str) -> Path | None:
    """Where Python finds the package, without importing it; None if nowhere."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin:
        return Path(spec.origin).resolve()
    places = list(spec.submodule_search_locations or [])
    return Path(places[0]).resolve() if places else None


def shadowed() -> list[tuple[str, Path | None]]:
    """The project's folders that Python finds elsewhere, with the file it finds instead."""
    places = [(name, found(name)) for name in FOLDERS]
    return [(name, path) for name, path in places if path is None or path.parent.parent != HOUSE]


def owner(name: str, path: Path) -> str | None:
    """The installed distribution, other than this one, whose package lies at `path`."""
    for distribution in metadata.packages_distributions().get(name, []):
        if distribution == "embodia":
            continue
        for file in metadata.files(distribution) or []:
            if file.parts[0] == name and Path(str(file.locate())).resolve().parent == path.parent:
                return distribution
    return None


def remedy(name: str, path: Path | None) -> str:
    """What is wrong with one folder, and how to mend it."""
    ours = HOUSE / name
    if path is None:
        return f"{name}: Python finds no package of that name; {ours} should hold it. Install again: pip install -e ."
    distribution = owner(name, path)
    if distribution:
        mend = f"pip uninstall {distribution}, or keep the two projects in environments of their own"
    elif path.parent.parent == Path.cwd():
        mend = f"start the command from another folder than {path.parent.parent}, or rename {path.parent.name}"
    else:
        mend = f"take {path.parent.parent} off PYTHONPATH (or out of the .pth file that adds it)"
    return f"{name}: Python finds {path}, not this project's {ours}. To mend it: {mend}."


def complaint() -> str:
    """One line per shadowed folder; empty where all is well."""
    return "\n".join(remedy(name, path) for name, path in shadowed())
