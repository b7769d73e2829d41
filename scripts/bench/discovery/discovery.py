"""Object discovery without labels: method by set by score, the paper's number, ours and the best control.

Every part is a file in `out` once it is done; a training that was stopped goes on where it stood.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from embodia.perception.pictures.outlined_shapes import THREE_SHAPES
from embodia.scripts.assembly.provenance import hardware
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

PAPER = {
    ("2Shapes", "complex autoencoder", "ARI-BG"): 0.9994,
    ("2Shapes", "complex autoencoder", "ARI+BG"): 0.9993,
    ("3Shapes", "complex autoencoder", "ARI-BG"): 0.9881,
    ("3Shapes", "complex autoencoder", "ARI+BG"): 0.8137,
    (TETROMINOES, "slot attention", "FG-ARI"): 0.995,
}
"""On the same kind of set: the complex autoencoder as an independent re-implementation reports it, slot attention after
500k steps. TokenCut and MaskCut have none on these sets, and the small Tetrominoes are ours."""


def measure(seeds: int = 3, only: Sequence[str] = (), out: Path = Path("runs/discovery")) -> dict[str, Any]:
    """Run what is not done yet of the parts whose names begin with one of `only` (all without), then the table.

    Raises:
        ValueError: for a beginning that no part has.
    """
    chosen = parts(seeds)
    for name in only:
        if not any(part.startswith(name) for part in chosen):
            raise ValueError(f"no part of this bench begins with {name!r}; the parts are {', '.join(chosen)}")
    for name, part in chosen.items():
        path = out / f"{name}.json"
        if path.exists() or (only and not name.startswith(tuple(only))):
            continue
        print(f"{name} ...", file=sys.stderr)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        started = process_time()
        records = part(out)
        path.write_text(json.dumps({"records": records, "cpu_s": round(process_time() - started, 1)}, indent=1))
    return table(out, chosen)


def parts(seeds: int) -> dict[str, Callable[[Path], list[Record]]]:
    """What there is to measure, cheap things first, then each training once for every seed."""
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


def table(out: Path, names: Iterable[str]) -> dict[str, Any]:
    """What is done so far, on the console and as one object."""
    records: list[Record] = []
    for name in names:
        if (path := out / f"{name}.json").exists():
            records += json.loads(path.read_text())["records"]
    rows = [row for dataset in dict.fromkeys(r["set"] for r in records) for row in rows_of(records, dataset)]
    print(f"{'set':<28}{'method':<40}{'score':<20}{'ours':>7} {'95 %':<14}{'best control':<44}paper")
    for row in rows:
        control = "(control)" if row["control"] else f"{row['best_control']:.3f} {row['best_control_name']}"
        within = "{:.3f}-{:.3f}".format(*row["interval"]) if row["interval"] else ""
        ours = f"{row['ours']:7.3f} {within:<14}"
        print(f"{row['set']:<28}{row['method']:<40}{row['score']:<20}{ours}{control:<44}{row['paper'] or ''}")
    return {"rows": rows, "hardware": hardware()}


def rows_of(records: list[Record], dataset: str) -> list[dict[str, Any]]:
    """A row per method and score of one set: mean over seeds, each seed's value, and the best control's."""
    mine = [record for record in records if record["set"] == dataset]
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(record["method"] for record in mine):
        runs = [record for record in mine if record["method"] == method]
        for score in runs[0]["scores"]:
            values = [run["scores"][score] for run in runs]
            controls = [
                (r["scores"][score], r["method"])
                for r in mine
                if r["control"] and score in r["scores"] and r["method"] != method
            ]
            best = max(controls, default=(float("nan"), "none"))
            rows.append(
                {"set": dataset, "method": method, "score": score, "control": runs[0]["control"]}
                | {"ours": float(np.mean(values)), "seeds": values, "budget": runs[0]["budget"]}
                | {"interval": runs[0].get("intervals", {}).get(score) if len(runs) == 1 else None}
                | {"best_control": best[0], "best_control_name": best[1], "paper": PAPER.get((dataset, method, score))}
            )
    return rows
