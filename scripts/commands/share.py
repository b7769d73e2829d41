"""`embodia share RUN`: a folder with a trained agent and its model card, uploaded to the Hugging Face hub if asked."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from embodia.scripts import hub
from embodia.scripts.assembly import runs
from embodia.scripts.bench.harness.results import commit
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.model_card import CARD, card

COPIED = ("report.json", "report.html", "episodes.jsonl", "levels.npy", "metrics.jsonl")
WEIGHTS = "agent.safetensors"


@dataclass(frozen=True)
class Args:
    """Write what others need to use a trained agent: weights, configuration, report, videos and a model card.

    The folder is a run: `embodia.load`, `eval` and `record` read it. Optimizers and replay buffers are left out, so it
    cannot be trained further.
    """

    run: tyro.conf.Positional[str]
    """Run: its folder, its name, or its preset."""
    to: str | None = None
    """Repository on the Hugging Face hub to upload to, user/name. Log in first, with `hf auth login` or HF_TOKEN."""
    private: bool = False
    """Make the repository private, if it is new."""
    checkpoint: str = "best"
    """Checkpoint: best, last, or a step."""
    out: Path | None = None
    """Folder to write; by default shared/RUN."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia share")
    repo = None if args.to is None else hub.checked(args.to.removeprefix(hub.PREFIX))
    run = runs.find(args.run, args.runs)
    report, config = read(run / "report.json"), read(run / runs.CONFIG)
    chosen = runs.trained(run, args.checkpoint)
    with runs.filled(args.out, Path("shared") / run.name) as folder:
        copy(run, chosen, folder)
        (folder / CARD).write_text(card(report, config, commit(), repo))
    print(f"{folder}: weights of step {int(chosen.name):,}, configuration, report, videos, model card")
    if repo is None:
        print(f"upload it with: embodia share {args.run} --to USER/NAME")
    else:
        print(hub.upload(folder, repo, args.private))
    return 0


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run. Raises Mistake if it is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise Mistake(f"{path} is missing: train the run to its end, or resume it, so that it is evaluated") from error
    except ValueError as error:
        raise Mistake(f"{path} is damaged: {error}") from error
    return found


def copy(run: Path, chosen: Path, folder: Path) -> None:
    """Copy a run without what only training needs."""
    for name in (runs.CONFIG, *COPIED):
        if (run / name).exists():
            shutil.copy2(run / name, folder / name)
    for name in (runs.CARRIED, "videos", "policy"):
        if (run / name).is_dir():
            shutil.copytree(run / name, folder / name, ignore=shutil.ignore_patterns("*.pt", ".lock"))
    there = folder / "checkpoints" / chosen.name
    there.mkdir(parents=True)
    shutil.copy2(chosen / WEIGHTS, there / WEIGHTS)
    meta = json.loads((chosen / "meta.json").read_text())
    meta["files"] = {name: stamp for name, stamp in meta["files"].items() if name == WEIGHTS}
    (there / "meta.json").write_text(json.dumps(meta, indent=2))
