"""Run folders: create and find them, read their configuration and checkpoints. They are never overwritten."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from embodia.agents.training import checkpoint
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.image_encoders import find as find_encoder
from embodia.scripts.assembly.stored import Named, read
from embodia.scripts.mistake import Mistake, nearest

CONFIG = "config.json"
CARRIED = "pretrained"


def fresh(folder: Path) -> Path:
    """Create the folder, or the next free one if it exists: `name`, `name-2`, `name-3`, ..."""
    number, free = 1, folder
    while True:
        try:
            free.mkdir(parents=True, exist_ok=False)
            return free
        except FileExistsError:
            number += 1
            free = folder.with_name(f"{folder.name}-{number}")


def exactly(folder: Path) -> Path:
    """Create the folder. Raises Mistake if it exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Mistake(
            f"{folder} is not empty, and runs are never overwritten; choose another folder, or train --resume {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def filled(out: Path | None, otherwise: Path) -> Iterator[Path]:
    """A context that creates the folder `out`, or a new one; it is removed if an error leaves it empty."""
    wanted = out or otherwise
    made = [each for each in wanted.parents if not each.exists()]
    mine = out is None or not out.exists()
    folder = exactly(out) if out else fresh(otherwise)
    made = [folder, *made] if mine else []
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # not empty, so it stays
            for each in made:
                each.rmdir()
        raise


def find(target: str, runs: Path) -> Path:
    """Find a run by its folder, by its name in `runs`, or as the newest run of a preset. Raises Mistake."""
    for folder in (Path(target), runs / target):
        if (folder / CONFIG).is_file():
            return folder
    known = sorted(path.parent for path in runs.glob(f"*/{CONFIG}"))
    ofpreset = [path for path in known if path.name.split("-seed")[0] == target]
    if ofpreset:
        return max(ofpreset, key=lambda path: (path / CONFIG).stat().st_mtime)
    hint = nearest(target, [path.name for path in known])
    raise Mistake(f"{target} is not a run: no {CONFIG} in {target} or {runs / target}. {hint} Train one first.")


def weights(run: Path, which: str = "best") -> Path:
    """Return the path of a run's best or last checkpoint, or of that at a step. Raises Mistake."""
    folder = run / "checkpoints"
    if which == "best":
        path = checkpoint.best(folder)
    elif which == "last":
        path = checkpoint.latest(folder)
    else:
        steps = {each.name.lstrip("0"): each for each in checkpoint.list_steps(folder)}
        path = steps.get(which.lstrip("0"))
    if path is None:
        names = ", ".join(each.name.lstrip("0") for each in checkpoint.list_steps(folder))
        there = f"choose best, last or one of {names}" if names else "it has no checkpoints yet; train it first"
        raise Mistake(f"{run}: no checkpoint {which}: {there}")
    return path


def config(run: Path, named: Named | None = None, env: str | None = None) -> Config:
    """Read a run's configuration. A pretrained encoder is read from the copy in the run folder.

    Args:
        run: run folder.
        named: user-defined classes, module:Class by path of the part.
        env: id of an environment that will replace the run's.

    Raises:
        Mistake: if it cannot be read, or contains a user-defined class that is not named.
    """
    named = dict(named or {})
    found = read(run / CONFIG, Config, {**named, "env.id": env} if env else named)
    if named.get("env.id", found.env.id) != found.env.id:
        raise Mistake(f"--env.id {named['env.id']}: {run} was trained in {found.env.id}; omit it")
    if found.encoder.pretrained is None:
        return found
    return replace(found, encoder=replace(found.encoder, pretrained=str(run / CARRIED)))


def carry(config: Config, run: Path) -> None:
    """Copy the pretrained encoder into the run, so that the run does not depend on the other folder."""
    if config.encoder.pretrained is not None:
        shutil.copytree(find_encoder(config.encoder.pretrained), run / CARRIED, ignore=shutil.ignore_patterns("*.pt"))
