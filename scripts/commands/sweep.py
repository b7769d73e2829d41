"""`embodia sweep PRESET --over FLAG VALUE ...`: train a preset with several values of its flags and several seeds."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from embodia.scripts.assembly import runs
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import settled
from embodia.scripts.commands.train import composed, configured
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.presets.table import preset
from embodia.scripts.report.progress import Progress
from embodia.scripts.sweep import Engine, Job
from embodia.scripts.sweep.cells import RULE, Sweep, check_flag, read, taken, write
from embodia.scripts.sweep.local import Local
from embodia.scripts.sweep.results import cells, table, written

HELP = """usage: embodia sweep PRESET --over FLAG VALUE ... [--over FLAG VALUE ...] [--seeds 0 1 2] [flags of train]
       embodia sweep --resume FOLDER

Train a preset with every combination of the values and every seed; print one table with intervals over seeds, and name
the best combination by its validation score. A value with commas stands for several words: --over agent.hidden 64,64.
A sweep that was interrupted or killed goes on with --resume: finished runs are read, others go on from their newest
checkpoints.

options:
  --over FLAG VALUE ...      flag of embodia train PRESET, without --, and its values; may be given several times
  --seeds 0 1 2              random seeds (default: 0)
  --jobs N                   runs at once on this machine (default: number of cores)
  --engine local|ray         processes of this machine, or a Ray cluster (default: local)
  --address ADDRESS          address of the Ray cluster; without it Ray is started on this machine
  --out FOLDER               folder of the sweep (default: runs/sweep-PRESET)
  --json                     print the results as one JSON object at the end
Further flags are those of embodia train PRESET and hold for all runs."""


@dataclass(frozen=True)
class Args:
    """Options of a sweep; the rest is for `embodia train`."""

    seeds: tuple[int, ...] = (0,)
    """Random seeds."""
    jobs: int | None = None
    """Runs at once on this machine."""
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster."""
    address: str | None = None
    """Address of the Ray cluster."""
    out: Path | None = None
    """Folder of the sweep."""
    resume: Path | None = None
    """Folder of a sweep to go on with."""
    json: bool = False
    """Print the results as JSON."""


def main(arguments: Sequence[str]) -> int:
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return 0 if words else 2
    name = None if words[0].startswith("-") else words.pop(0)
    rest, over = taken(words)
    args, flags = tyro.cli(Args, args=rest, prog="embodia sweep", return_unknown_args=True)
    at_least_one(jobs=args.jobs)
    engine = engine_of(args)
    if args.resume is not None:
        if name or over or flags:
            raise Mistake("--resume takes what the sweep was begun with; omit the preset, --over and other flags")
        with locked(args.resume, "swept"):
            return carry_out(read(args.resume), args.resume, engine, args.json)
    if name is None:
        raise Mistake("name a preset first: embodia sweep PRESET --over FLAG VALUE ...")
    if not args.seeds or len(set(args.seeds)) != len(args.seeds):
        raise Mistake(f"--seeds {' '.join(map(str, args.seeds))}: give different seeds")
    sweep = Sweep(name, over, args.seeds, tuple(flags))
    check(sweep)
    with runs.filled(args.out, Path("runs") / f"sweep-{name}") as folder:
        write(sweep, folder)
        return carry_out(sweep, folder, engine, args.json)


def engine_of(args: Args) -> Engine:
    """The engine of the command line. Raises Mistake for options that do not go together."""
    if args.engine == "local":
        if args.address is not None:
            raise Mistake("--address is of a Ray cluster; add --engine ray")
        return Local(args.jobs or os.cpu_count() or 1)
    if args.jobs is not None:
        raise Mistake("--jobs is for --engine local; Ray runs as many as it has CPUs")
    from embodia.scripts.sweep.on_ray import Ray

    return Ray(args.address)


def check(sweep: Sweep) -> None:
    """Read the flags of every cell as `embodia train` would, before anything runs. Raises Mistake."""
    _, default = composed(list(sweep.flags), preset(sweep.preset))
    for flag, _ in sweep.over:
        check_flag(flag, settled(default))
    names = [sweep.name(cell) for cell in sweep.cells()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Mistake(f"--over: two combinations would both be called {min(twice)}")
    for cell in sweep.cells():
        configured(sweep.preset, [*sweep.flags, *sweep.settings(cell)])


def carry_out(sweep: Sweep, folder: Path, engine: Engine, as_json: bool) -> int:
    """Run what is not finished, then report; return the exit code."""
    jobs = sweep.jobs(folder)
    open_ = [job for job in jobs if not job.finished]
    print(f"{len(jobs)} runs in {folder}, {len(jobs) - len(open_)} finished; best = {RULE}", file=sys.stderr)
    failed = []
    progress = Progress("sweeping", len(jobs), "runs", len(jobs) - len(open_))
    for ended in engine.run(open_):
        progress.advance()
        if ended.code:
            failed.append(ended.job)
            print(f"{ended.job.folder.name} failed: {reason(ended.job)}", file=sys.stderr)
    found = cells(sweep, jobs)
    if not found:
        raise Mistake(f"no run of {folder} finished; its logs are in {folder / 'logs'}")
    made = written(sweep, found, RULE, folder)
    print(table(found, len(sweep.seeds)))
    print(f"best: {found[0].name}, by {RULE}\n{folder / 'results.json'}, {folder / 'sweep.png'}")
    if failed:
        print(f"{len(failed)} runs failed; embodia sweep --resume {folder} runs them again", file=sys.stderr)
    if as_json:
        print(json.dumps(made))
    return 1 if failed else 0


def reason(job: Job) -> str:
    """The last line of a job's log."""
    try:
        lines = job.log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{lines[-1] if lines else 'no output'} ({job.log})"
