"""Generative models against exact values and published numbers, each beside its control."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from embodia.scripts.bench.generative import autoencoders, energies
from embodia.scripts.bench.generative.consistency_toy import consistency
from embodia.scripts.bench.generative.diffusion_toy import diffusion, solver
from embodia.scripts.bench.generative.glyphs import scheduled_sampling
from embodia.scripts.bench.generative.guidance import digits, overlapping
from embodia.scripts.bench.generative.neighbours import neighbours
from embodia.scripts.bench.generative.pictures import draw_pictures
from embodia.scripts.bench.generative.scores import likelihood, matching, ncsn
from embodia.scripts.bench.generative.speed import ddim_step
from embodia.scripts.bench.generative.training import Asked, Budget, Numbers
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
    **autoencoders.PARTS,
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


SHARE, SPREAD, NATS = "share in its class", "spread within a class", "nats"
MMD, RMS, VARIATION = "MMD^2", "RMS error", "total variation"
ROWS = (
    Asked("ncsn toy", "ncsn", "annealed", "weight of the small mode", {"": ("plain", "learned")}, 0.2),
    Asked(
        "ddpm",
        "diffusion",
        "ddpm",
        MMD,
        {"": ("data against data", "untrained"), "weight of the smallest of 8 modes": ("smallest mode",)},
    ),
    Asked(
        "ddim consistency",
        "diffusion",
        "ddim consistency",
        "correlation of 20 and 200 steps",
        {"": ("eta 1 consistency",), "relative error": ("inversion error",)},
    ),
    Asked(
        "dpm-solver",
        "solver",
        "order",
        "order",
        {"": ("ddim order",), RMS: ("dpm-solver 20, exact score", "ddim 20, exact score", "ddim 50, exact score")},
        2.0,
    ),
    Asked(
        "dpm-solver 20",
        "diffusion",
        "dpm-solver 20 mmd",
        MMD,
        {"": ("ddim 50 mmd", "ddim 10 mmd"), RMS: ("dpm-solver 20", "ddim 50")},
    ),
    Asked(
        "cfg",
        "overlapping",
        "accuracy w=3",
        SHARE,
        {
            "": (
                "accuracy of data",
                *(f"accuracy w={w}" for w in (1, 2, 6)),
                "accuracy classifier",
                "accuracy clean classifier",
            ),
            SPREAD: (*(f"spread w={w}" for w in (1, 2, 3, 6)), "spread classifier", "spread clean classifier"),
        },
    ),
    Asked(
        "cfg digits",
        "digits",
        "digits accuracy w=2",
        SHARE,
        {
            "": ("digits of data", "digits accuracy w=1", "digits accuracy w=4"),
            SPREAD: tuple(f"digits variance w={w}" for w in (1, 2, 4)),
        },
    ),
    Asked(
        "steering",
        "diffusion",
        "steering",
        VARIATION,
        {
            "": ("best of 8", "unsteered"),
            "mean of the reward": (
                "exact mean",
                "steering mean",
                "steering mean, 64 particles",
                "best of 8 mean",
                "best of 64 mean",
            ),
        },
    ),
    Asked(
        "consistency",
        "consistency",
        "distilled",
        MMD,
        {"": ("teacher", "teacher in one step", "distilled, two steps", "trained alone")},
    ),
    Asked(
        "likelihood",
        "likelihood",
        "vp",
        "nats of error",
        {"": ("sub-vp", "learned gap"), MMD: ("ode mmd", "sde mmd", "pc mmd", "sde to ode mmd")},
        0.0,
    ),
    Asked("score matching", "matching", "exact", "relative error of the precision", {"": ("sliced", "denoising")}),
    Asked(
        "scheduled sampling",
        "glyphs",
        "scheduled glyph errors",
        "share of wrong glyphs",
        {
            "": ("plain glyph errors", "longer plain glyph errors"),
            "drift": ("scheduled drift", "plain drift", "longer plain drift"),
        },
    ),
    Asked(
        "flow matching",
        "neighbours",
        "flow matching mmd",
        MMD,
        {
            "": ("normalizing flow mmd", "gan mmd"),
            "modes found": ("flow matching modes", "normalizing flow modes", "gan modes"),
            "share near a mode": (
                "flow matching near modes",
                "normalizing flow near modes",
                "gan near modes",
            ),
            NATS: ("normalizing flow nats", "nats of the truth"),
        },
    ),
    Asked(
        "ddim step",
        "speed",
        "ratio",
        "seconds of diffusers over ours",
        {"ms": ("ours", "diffusers"), "largest difference": ("difference",)},
    ),
    *autoencoders.ROWS,
    *energies.ROWS,
)


def rows(lines: Mapping[str, Sequence[Line]]) -> list[Row]:
    """The rows of the result file, each from the lines of its part, one line a seed."""
    return [asked_row(asked, lines[asked.part]) for asked in ROWS]


def asked_row(asked: Asked, lines: Sequence[Line]) -> Row:
    def of(number: str) -> list[list[float]]:
        return [[line[number]] for line in lines]

    controls = [
        row(number, of(number), unit or asked.unit) for unit, numbers in asked.controls.items() for number in numbers
    ]
    minutes = round(sum(line["cpu_minutes"] for line in lines), 2)
    return row(
        asked.name,
        of(asked.number),
        asked.unit,
        paper=asked.paper,
        controls=controls,
        cpu_minutes=minutes,
    )
