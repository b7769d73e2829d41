"""Object discovery without labels: scores of each method on each set of images, beside controls and the paper's number.

Every part of the bench is a file in `runs/discovery` as soon as it is done. A training that was stopped is resumed.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import torch

from embodia.perception.pictures.outlined_shapes import THREE_SHAPES
from embodia.scripts.bench.discovery.cuts import (
    cuts_homes,
    cuts_homes_dino,
    cuts_many_sprites,
    cuts_roads,
    cuts_sprites,
    normalised_cut,
)
from embodia.scripts.bench.discovery.phases import complex_autoencoder
from embodia.scripts.bench.discovery.records import DEVICE, Record
from embodia.scripts.bench.discovery.slots import TETROMINOES, paper_slots, slots_controls, small_slots
from embodia.scripts.bench.harness.options import Discovery
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.mistake import Mistake, nearest
from embodia.scripts.report.progress import Progress

PAPER = {
    ("2Shapes", "complex autoencoder", "ARI-BG"): 0.9994,
    ("2Shapes", "complex autoencoder", "ARI+BG"): 0.9993,
    ("3Shapes", "complex autoencoder", "ARI-BG"): 0.9881,
    ("3Shapes", "complex autoencoder", "ARI+BG"): 0.8137,
    (TETROMINOES, "slot attention", "FG-ARI"): 0.995,
}
"""Published scores by set, method and score: of the complex autoencoder by an independent re-implementation, of slot
attention after 500,000 steps. There are none for TokenCut and MaskCut on these sets, nor for the small Tetrominoes."""


SMOKE: dict[str, Callable[[Path], list[Record]]] = {
    "normalised-cut": normalised_cut,
    "slots-controls": slots_controls,
    "slots-0": partial(small_slots, seed=0, name="slots-0", steps=2),
    "cae-2shapes-0": partial(complex_autoencoder, seed=0, steps=2, name="cae-2shapes-0"),
}
"""The parts that a few steps make cheap."""


def measure(options: Discovery) -> list[Row]:
    """Run the parts that are not done yet. Raises Mistake for a word in `options.only` with which no part begins."""
    out, known = options.folder(), SMOKE if options.smoke else parts(options.seeds)
    for word in options.only:
        if not any(part.startswith(word) for part in known):
            raise Mistake(f"no part of this bench begins with {word!r}. {nearest(word, known)}")
    chosen = {name: part for name, part in known.items() if not options.only or name.startswith(options.only)}
    progress = Progress("bench", len(chosen), "parts", sum((out / f"{name}.json").exists() for name in chosen))
    for name, part in chosen.items():
        if not (path := out / f"{name}.json").exists():
            print(f"{progress.done + 1} of {len(chosen)}: {name}{progress.left()}", file=sys.stderr)
            torch.manual_seed(0)
            started = process_time()
            records = part(out)
            path.write_text(json.dumps({"records": records, "cpu_s": round(process_time() - started, 1)}, indent=1))
            progress.done += 1
    return rows(json.loads((out / f"{name}.json").read_text()) for name in chosen)


def parts(seeds: int) -> dict[str, Callable[[Path], list[Record]]]:
    """The parts of the bench: cheap ones first, then each training once per seed."""
    found: dict[str, Callable[[Path], list[Record]]] = {
        "cuts-sprites": cuts_sprites,
        "cuts-many-sprites": cuts_many_sprites,
        "normalised-cut": normalised_cut,
        "slots-controls": slots_controls,
        "cuts-roads": cuts_roads,
        "cuts-homes": cuts_homes,
        "cae-plain": partial(complex_autoencoder, seed=0, steps=2000, name="cae-plain", chi=1.0),
        "cae-no-chi": partial(complex_autoencoder, seed=0, steps=5_000, name="cae-no-chi", chi=0.0),
    }
    for seed in range(seeds):
        found[f"cuts-homes-dino-{seed}"] = partial(cuts_homes_dino, seed=seed)
        found[f"slots-{seed}"] = partial(small_slots, seed=seed, name=f"slots-{seed}")
        name = f"cae-2shapes-{seed}"
        found[name] = partial(complex_autoencoder, seed=seed, steps=10_000, name=name)
        if DEVICE.type == "cuda":  # half a day on a CPU
            name = f"paper-slots-{seed}"
            found[name] = partial(paper_slots, seed=seed, name=name)
            name = f"cae-3shapes-{seed}"
            found[name] = partial(complex_autoencoder, seed=seed, steps=30_000, name=name, shapes=THREE_SHAPES)
    return found


def rows(done: Iterable[dict]) -> list[Row]:
    """One row per set, method and score, with the controls of the same set."""
    runs: dict[tuple[str, str], list[Record]] = {}
    for part in done:
        for each in part["records"]:
            runs.setdefault((each["set"], each["method"]), []).append(each | {"cpu_s": part["cpu_s"]})
    found = []
    for (dataset, method), own in runs.items():
        others = [(name, each) for (where, name), each in runs.items() if where == dataset and each[0]["control"]]
        only_controls = len(others) == sum(where == dataset for where, _ in runs)
        if own[0]["control"] and not only_controls:
            continue
        for score in own[0]["scores"]:
            controls = [score_row(name, each, score) for name, each in others if score in each[0]["scores"]]
            paper = PAPER.get((dataset, method, score))
            made = score_row(f"{dataset}: {method}", own, score)
            found.append(replace(made, paper=paper, controls=() if only_controls else tuple(controls)))
    return found


def score_row(name: str, runs: Sequence[Record], score: str) -> Row:
    """The mean over runs with its interval; of a single run the interval over images, if it has one."""
    values, minutes = [run["scores"][score] for run in runs], sum(run["cpu_s"] for run in runs) / 60
    made = row(name, [[value] for value in values], score, cpu_minutes=minutes)
    if len(runs) == 1:
        low, high = runs[0].get("intervals", {}).get(score, values * 2)
        made = replace(made, low=low, high=high)
    return made
