"""Run folders: create and find them, read their configuration and checkpoints. They are never overwritten."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from embodia.agents.training import checkpoint
from embodia.scripts import hub
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.image_encoders import find as find_encoder
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.assembly.locks import LOCK, locked
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
    if folder.exists() and (not folder.is_dir() or any(each.name != LOCK for each in folder.iterdir())):
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
        with locked(folder, "written"):
            exactly(folder)  # again, now that no other process can write there
            yield folder
    except BaseException:
        with suppress(OSError):  # not empty, so it stays
            for each in made:
                each.rmdir()
        raise


@contextmanager
def discarded_on_failure(run: Path) -> Iterator[None]:
    """A context that removes a new run if an error ends it before its first update.

    Such a run holds nothing but its configuration and untrained weights.
    """
    try:
        yield
    except Exception:
        if not (trained_steps(run) or read_lines(run / "metrics.jsonl")):
            shutil.rmtree(run, ignore_errors=True)
        raise


def trained_steps(run: Path) -> int:
    """Return the steps of the newest checkpoint of a run, intact or not; 0 if it has none."""
    paths = checkpoint.list_steps(run / "checkpoints")
    return int(paths[-1].name) if paths else 0


def find(target: str, runs: Path) -> Path:
    """Find a run by its folder, by its name in `runs`, as the newest run of a preset, or on the hub (hf://user/name).

    Raises:
        Mistake: if there is none.
    """
    if target.startswith(hub.PREFIX):
        return hub.fetched(target, runs)
    for folder in (Path(target), runs / target):
        if (folder / CONFIG).is_file():
            return folder
    known = sorted(path.parent for path in runs.glob(f"*/{CONFIG}"))
    trained = [path for path in known if path.name.split("-seed")[0] == target and trained_steps(path)]
    if trained:  # a finished run rather than one that was interrupted, and of those the newest
        newest = max(trained, key=lambda path: (is_finished(path), (path / CONFIG).stat().st_mtime))
        unfinished = "" if is_finished(newest) else f"; its training stopped at step {trained_steps(newest):,}"
        print(f"{target}: {newest}{unfinished}", file=sys.stderr)
        return newest
    hint = nearest(target, [path.name for path in known])
    raise Mistake(f"{target} is not a run: no {CONFIG} in {target} or {runs / target}. {hint} Train one first.")


def is_finished(run: Path) -> bool:
    """Return whether a run has been trained for all the steps that its configuration asks for."""
    try:
        found = json.loads((run / CONFIG).read_text())["config"]
        wanted = int((found.get("schedule") or found["training"])["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return trained_steps(run) >= wanted


def weights(run: Path, which: str = "best") -> Path:
    """Return the path of a run's best or last checkpoint, or of that at a step. Raises Mistake."""
    folder = run / "checkpoints"
    if which == "best":
        path = checkpoint.best(folder)
    elif which == "last":
        path = checkpoint.latest(folder)
    else:
        steps = {str(int(each.name)): each for each in checkpoint.list_steps(folder)}
        path = steps.get(which.lstrip("0") or "0")
    if path is None:
        names = ", ".join(str(int(each.name)) for each in checkpoint.list_steps(folder))
        there = f"choose best, last or one of {names}" if names else "it has no checkpoints yet; train it first"
        raise Mistake(f"{run}: no checkpoint {which}: {there}")
    return path


def trained(run: Path, which: str = "best") -> Path:
    """Like `weights`, but raise Mistake also for a checkpoint from before training."""
    path = weights(run, which)
    if int(path.name) == 0 and which != "0":
        raise Mistake(f"{run}: its training stopped before the first update; embodia train --resume {run} continues it")
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
    named = {"env.wrap" if path == "wrap" else path: name for path, name in (named or {}).items()}
    found = read(run / CONFIG, Config, {**named, "env.id": env, "env.wrap": ""} if env else named)
    if named.get("env.id", found.env.id) != found.env.id:
        raise Mistake(f"--env.id {named['env.id']}: {run} was trained in {found.env.id}; omit it")
    if found.encoder.pretrained is None:
        return found
    return replace(found, encoder=replace(found.encoder, pretrained=str(run / CARRIED)))


def carry(config: Config, run: Path) -> None:
    """Copy the pretrained encoder into the run, so that the run does not depend on the other folder."""
    if config.encoder.pretrained is not None:
        shutil.copytree(find_encoder(config.encoder.pretrained), run / CARRIED, ignore=shutil.ignore_patterns("*.pt"))
