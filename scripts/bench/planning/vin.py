"""Value iteration networks beside their controls, on the grid worlds of their paper and on maps of homes.

Success is the share of starts from which the policy's path reaches the goal; path difference is how much longer such
paths are than shortest ones, in cells; the prediction error is the share of states on expert paths whose best move is
not the expert's.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from embodia.agents.reinforcement.map_reinforce import MapReinforce
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.envs.control.grid_world import RECIPES, GridWorlds, follow, grid_worlds
from embodia.planners.control.converged_value_iteration import ConvergedValueIterationNetwork
from embodia.planners.search.map_policy import MapPolicy
from embodia.planners.search.reactive_map_policies import MapCNN, MapFCN
from embodia.planners.search.value_iteration_network import ValueIterationNetwork, VINConfig
from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Vin
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.planning.vin_data import MapBatches, Mover, starts_on, trace
from embodia.scripts.bench.planning.vin_homes import homes
from embodia.scripts.bench.planning.vin_pictures import draw_pictures
from embodia.scripts.mistake import Mistake

MAPS, TRAINING = 5000, 4285
"""Number of maps, and of those for training: the first six sevenths, as in the official data."""
ITERATIONS = {8: 10, 16: 20, 28: 36}
SHOWN = 3
"""Number of maps in pictures."""
UNITS = ("success", "path difference", "prediction error")


@dataclass(frozen=True)
class Trial:
    """A network to train on the maps of one side."""

    side: int
    make: Callable[[int], MapPolicy]
    """From the side of the maps."""
    steps: int
    rate: float = 3e-2
    batch: int = 8
    """Maps per update."""
    share: float = 1.0
    """Share of the training maps."""


def vin(side: int, **changes: Any) -> MapPolicy:
    return ValueIterationNetwork(config=VINConfig(ITERATIONS[side], **changes))


untied = partial(vin, tied=False)


def converged(side: int) -> MapPolicy:
    return ConvergedValueIterationNetwork()


def cnn(side: int) -> MapPolicy:
    return MapCNN(2, (side, side))


def fcn(side: int) -> MapPolicy:
    return MapFCN(2, (side, side))


TIED_AND_UNTIED: dict[str, Callable[[int], MapPolicy]] = {"vin": vin, "untied": untied}
TRIALS = {
    "8x8 vin": Trial(8, vin, 4_000, 1e-2, 32),
    "8x8 cnn": Trial(8, cnn, 3_000, 1e-3),
    "8x8 fcn": Trial(8, fcn, 2_000, 1e-3),
    "8x8 converged": Trial(8, converged, 2_000, 1e-2),
    "16x16 vin": Trial(16, vin, 6_000),
    "16x16 untied": Trial(16, untied, 6_000),
    "16x16 cnn": Trial(16, cnn, 800, 1e-3),
    "16x16 fcn": Trial(16, fcn, 1_000, 1e-3),
    **{
        f"16x16 {100 * share:.0f} % {name}": Trial(16, make, 6_000, share=share)
        for share in (0.5, 0.2)
        for name, make in TIED_AND_UNTIED.items()
    },
    "28x28 vin": Trial(28, vin, 8_000),
}
"""What is trained by imitation, by the name of its part."""

PAPER: dict[str, Sequence[float]] = {
    "8x8 vin": (0.996, 0.001, 0.004),
    "8x8 cnn": (0.979, 0.006, 0.02),
    "8x8 fcn": (0.973, 0.004, 0.01),
    "16x16 vin": (0.993, 0.089, 0.05),
    "16x16 cnn": (0.876, 0.06, 0.10),
    "16x16 fcn": (0.883, 0.05, 0.07),
    "16x16 untied": (0.956, 0.068, 0.05),
    "16x16 50 % vin": (0.994, 0.018, 0.05),
    "16x16 50 % untied": (0.952, 0.078, 0.07),
    "16x16 20 % vin": (0.982, 0.106, 0.06),
    "16x16 20 % untied": (0.919, 0.094, 0.09),
    "28x28 vin": (0.97, 0.086, 0.11),
}
"""Numbers of Tamar et al. (2016), in the order of `UNITS`."""


def imitated(name: str, seed: int, budget: Budget) -> Numbers:
    """Train a network on the experts' paths; scores on the test maps."""
    trial = TRIALS[name]
    train, test = split(trial, budget)
    seed_all(seed)
    policy = trial.make(trial.side)
    learn(policy, MapBatches(train, seed), trial, budget)
    found = judged(policy, test)
    if trial.side == 8:
        found |= on_larger_maps(name, policy, seed, budget)
    elif isinstance(policy, ValueIterationNetwork) and trial.share == 1 and seed == 0:
        shown = torch.from_numpy(test.inputs()[:SHOWN])
        kept = {"maps": shown, "rewards": policy.rewards(shown), "values": policy.values(shown)}
        budget.keep(f"values-{trial.side}-{name.split()[-1]}", **kept)
    return found


def on_larger_maps(name: str, policy: MapPolicy, seed: int, budget: Budget) -> Numbers:
    """Scores on 16 x 16 maps of a policy that was trained on 8 x 8; a network that plans takes more iterations."""
    worlds = split(Trial(16, vin, 0), budget)[1]
    found = {"success, as trained": judged(policy, worlds)["success"]}
    if isinstance(policy, ValueIterationNetwork):
        policy.iterations = ITERATIONS[16]
    if seed == 0:
        shown = worlds.part(0, SHOWN)
        path = torch.from_numpy(trace(shown, Mover(policy, shown)))
        budget.keep(f"larger-{name.split()[-1]}", maps=torch.from_numpy(shown.inputs()), path=path)
    return found | {f"{unit}, 16x16": value for unit, value in judged(policy, worlds).items()}


def reinforced(seed: int, budget: Budget) -> Numbers:
    """Train a network from the reward of reaching the goal alone, on 8 x 8 maps."""
    trial = Trial(8, vin, 1_000, 1e-2, 16)
    train, test = split(trial, budget)
    seed_all(seed)
    policy = vin(8)
    learner = MapReinforce(policy)
    learn(learner, RandomBatches(starts_on(train, 8), seed), trial, budget)
    return judged(policy, test)


def split(trial: Trial, budget: Budget) -> tuple[GridWorlds, GridWorlds]:
    """Return training and test maps. They are the same for all seeds."""
    total = budget.samples(MAPS)
    training = total * TRAINING // MAPS
    worlds = grid_worlds(RECIPES[trial.side], total)
    return worlds.part(0, max(1, round(trial.share * training))), worlds.part(training, total)


def learn(learner: torch.nn.Module, data: Any, trial: Trial, budget: Budget) -> None:
    config = FitConfig(
        steps=budget.steps(trial.steps),
        batch_size=trial.batch,
        learning_rate=trial.rate,
        weight_decay=0.0,
        device="cpu",
        log_every=200,
    )
    fit(learner, data, config, logger=Logger(console=False))


def judged(policy: MapPolicy, worlds: GridWorlds) -> Numbers:
    """Scores of a policy for each map: over its starts, over its successful paths, over the states of its paths."""
    best = Mover(policy, worlds)
    found = follow(worlds, best)
    number, cell, _ = worlds.walk
    wrong = best(number, cell) != worlds.move[number, cell]
    errors = np.bincount(number, wrong) / np.bincount(number)
    arrived = found.success.any(1)
    extra = np.where(found.success, found.extra, 0).sum(1)[arrived] / found.success.sum(1)[arrived]
    values = dict(zip(UNITS, (found.success.mean(1), extra, errors)))
    return {unit: np.round(value, 4).tolist() for unit, value in values.items()}


def measure(options: Vin) -> list[Row]:
    """Run the parts that are not finished yet, draw the pictures, and return the rows."""
    out = options.folder()
    budget = Budget(options.smoke, out / "arrays")
    jobs = {name: part for name, part in PARTS.items() if name.startswith(options.only or ("",))}
    if not jobs:
        raise Mistake(f"--only {' '.join(options.only)} names no part of the bench; choose from {', '.join(PARTS)}")
    work = [
        (f"{name}, seed {seed}", partial(part, seed, budget))
        for seed in range(options.seeds)
        for name, part in jobs.items()
    ]
    lines = by_seed(once(out / "lines.jsonl", work))
    for path in draw_pictures(out / "arrays", out):
        print(path, file=sys.stderr)
    return list(rows(lines))


PARTS: dict[str, Callable[[int, Budget], Numbers]] = {
    **{name: partial(imitated, name) for name in TRIALS},
    "8x8 reinforce": reinforced,
    "homes": homes,
}

ROWS = {
    "vin 8x8": ("8x8 vin", ("8x8 cnn", "8x8 fcn", "8x8 converged", "8x8 reinforce")),
    "vin 16x16": ("16x16 vin", ("16x16 untied", "16x16 cnn", "16x16 fcn")),
    "vin 16x16 50 %": ("16x16 50 % vin", ("16x16 50 % untied",)),
    "vin 16x16 20 %": ("16x16 20 % vin", ("16x16 20 % untied",)),
    "vin 28x28": ("28x28 vin", ()),
}
"""The part of each row of the result file, and the parts of its controls."""
LABELS = {"cnn": "CNN", "fcn": "FCN", "converged": "iterated to convergence", "reinforce": "from reward alone"}


def rows(lines: dict[str, list[Line]]) -> Iterator[Row]:
    """The rows of the parts that were run, from the lines of each part, one a seed."""
    for name, (part, controls) in ROWS.items():
        for i, unit in enumerate(UNITS):
            if known(part, unit, lines):
                yield scored(part, unit, lines, name, [each for each in controls if known(each, unit, lines)], i)
    part = "8x8 vin"
    for unit in UNITS:
        if known(part, larger := f"{unit}, 16x16", lines):
            others = [each for each in ("8x8 cnn", "8x8 fcn", "8x8 converged") if known(each, larger, lines)]
            found = scored(part, larger, lines, "vin 8x8 on 16x16", others)
            if unit == "success":
                few = scored(part, "success, as trained", lines, f"{ITERATIONS[8]} iterations")
                found = replace(found, controls=(few, *found.controls))
            yield found
    if "homes" in lines:
        cpu = minutes(lines["homes"])
        for score in ("success", "spl"):
            names = ("cheapest path on the map", "expert", "random")
            beside = [row(each, [line[f"{each}, {score}"] for line in lines["homes"]], score) for each in names]
            values = [line[f"vin, {score}"] for line in lines["homes"]]
            yield row("vin homes", values, score, cpu_minutes=cpu, controls=beside)


def known(part: str, unit: str, lines: dict[str, list[Line]]) -> bool:
    """Return whether a part has this score for every seed. Without a success there is no path difference."""
    return part in lines and all(len(line[unit]) for line in lines[part])


def scored(
    part: str,
    unit: str,
    lines: dict[str, list[Line]],
    name: str,
    controls: Sequence[str] = (),
    paper: int | None = None,
) -> Row:
    """The row of one score of a part; `paper` is the place of the paper's number in `PAPER`."""
    beside = [scored(each, unit, lines, label(each), paper=paper) for each in controls]
    published = PAPER[part][paper] if paper is not None and part in PAPER else None
    values, shown = [line[unit] for line in lines[part]], unit.partition(",")[0]
    return row(name, values, shown, paper=published, cpu_minutes=minutes(lines[part]), controls=beside)


def label(part: str) -> str:
    last = part.split()[-1]
    return LABELS.get(last, last)
