"""Generative models against exact values and published numbers, each beside its control."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from embodia.scripts.bench.generative import energies
from embodia.scripts.bench.generative.consistency_toy import consistency
from embodia.scripts.bench.generative.diffusion_toy import diffusion, solver
from embodia.scripts.bench.generative.glyphs import scheduled_sampling
from embodia.scripts.bench.generative.guidance import digits, overlapping
from embodia.scripts.bench.generative.neighbours import neighbours
from embodia.scripts.bench.generative.pictures import draw_pictures
from embodia.scripts.bench.generative.scores import likelihood, matching, ncsn
from embodia.scripts.bench.generative.speed import ddim_step
from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.bench.harness.once import Line, once
from embodia.scripts.bench.harness.options import Generative
from embodia.scripts.bench.harness.results import Row, row

PARTS: dict[str, Callable[[int, Budget], Numbers]] = {
    "diffusion": diffusion,
    "solver": solver,
    "ncsn": ncsn,
    "overlapping": overlapping,
    "consistency": consistency,
    "likelihood": likelihood,
    "glyphs": scheduled_sampling,
    "digits": digits,
    "matching": matching,
    "neighbours": neighbours,
    "speed": ddim_step,
    **energies.PARTS,
}


def measure(options: Generative) -> list[Row]:
    """Run the parts that are not finished yet, draw the images, and return the rows."""
    out = options.folder()
    budget = Budget(options.smoke, out / "arrays")
    jobs = [
        (f"{name} {seed}", partial(part, seed, budget)) for seed in range(options.seeds) for name, part in PARTS.items()
    ]
    lines = once(out / "lines.jsonl", jobs)
    for path in draw_pictures(out / "arrays", out):
        print(path, file=sys.stderr)
    return rows({name: [line for line in lines if line["name"].rpartition(" ")[0] == name] for name in PARTS})


def rows(lines: dict[str, list[Line]]) -> list[Row]:
    """The rows of the result file, each from the lines of its part, one line a seed."""

    def of(part: str, name: str, unit: str = "", label: str | None = None, **more: Any) -> Row:
        return row(label or name, [[line[name]] for line in lines[part]], unit, **more)

    def main(
        label: str,
        part: str,
        name: str,
        unit: str,
        paper: float | None = None,
        controls: Sequence[str] = (),
    ) -> Row:
        beside = tuple(of(part, each) for each in controls)
        minutes = sum(line["cpu_minutes"] for line in lines[part])
        return of(part, name, unit, label, paper=paper, controls=beside, cpu_minutes=round(minutes, 2))

    return [
        main("ncsn toy", "ncsn", "annealed", "weight of the small mode", 0.2, ("plain", "learned")),
        main("ddpm", "diffusion", "ddpm", "MMD^2", None, ("data against data", "untrained", "smallest mode")),
        main(
            "ddim consistency",
            "diffusion",
            "ddim consistency",
            "correlation",
            None,
            ("eta 1 consistency", "inversion error", "deterministic"),
        ),
        main(
            "dpm-solver",
            "solver",
            "order",
            "order",
            2.0,
            ("ddim order",),
        ),
        main(
            "dpm-solver 20",
            "diffusion",
            "dpm-solver 20",
            "RMS error",
            None,
            ("ddim 50", "dpm-solver 20 mmd", "ddim 50 mmd", "ddim 10 mmd"),
        ),
        main(
            "cfg",
            "overlapping",
            "accuracy w=3",
            "share in its class",
            None,
            (
                "accuracy w=1",
                "accuracy w=2",
                "accuracy w=6",
                "spread w=1",
                "spread w=2",
                "spread w=3",
                "spread w=6",
                "accuracy classifier",
                "spread classifier",
                "accuracy clean classifier",
                "spread clean classifier",
                "accuracy of data",
            ),
        ),
        main(
            "cfg digits",
            "digits",
            "digits accuracy w=2",
            "share in its class",
            None,
            (
                "digits accuracy w=1",
                "digits accuracy w=4",
                "digits variance w=1",
                "digits variance w=2",
                "digits variance w=4",
                "digits of data",
            ),
        ),
        main(
            "steering",
            "diffusion",
            "steering",
            "total variation",
            None,
            (
                "best of 8",
                "unsteered",
                "steering mean",
                "steering mean, 64 particles",
                "exact mean",
                "best of 8 mean",
                "best of 64 mean",
            ),
        ),
        main(
            "consistency",
            "consistency",
            "distilled",
            "MMD^2",
            None,
            ("teacher", "teacher in one step", "distilled, two steps", "trained alone"),
        ),
        main(
            "likelihood",
            "likelihood",
            "vp",
            "nats of error",
            0.0,
            ("sub-vp", "learned gap", "sde to ode mmd", "ode mmd", "sde mmd", "pc mmd"),
        ),
        main("score matching", "matching", "exact", "relative error of the precision", None, ("sliced", "denoising")),
        main(
            "scheduled sampling",
            "glyphs",
            "scheduled glyph errors",
            "share of glyphs",
            None,
            ("plain glyph errors", "longer plain glyph errors", "scheduled drift", "plain drift", "longer plain drift"),
        ),
        main(
            "flow matching",
            "neighbours",
            "flow matching mmd",
            "MMD^2",
            None,
            (
                "normalizing flow mmd",
                "gan mmd",
                "flow matching modes",
                "normalizing flow modes",
                "gan modes",
                "flow matching near modes",
                "normalizing flow near modes",
                "gan near modes",
                "normalizing flow nats",
                "nats of the truth",
            ),
        ),
        main(
            "ddim step", "speed", "ratio", "seconds of diffusers over ours", None, ("ours", "diffusers", "difference")
        ),
        *energies.energy_rows(main),
    ]
