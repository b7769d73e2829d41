"""Learning curves of several runs in one picture: a line a group of seeds, with the interval of their mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from embodia.scripts.assembly.json_lines import read_lines

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps and values."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def curve(run: Path, score: str) -> Curve:
    """The score while `run` was trained: of evaluations if there were at least two, else of training episodes.

    Returns empty arrays if the run did not log it.
    """
    lines = read_lines(run / "metrics.jsonl")
    for name, least in ((f"eval/{score}", 2), (f"episode/{score}", 1)):
        points = sorted((line["step"], line[name]) for line in lines if number(line.get("step"), line.get(name)))
        if len(points) >= least:
            steps, values = np.array(points, float).T
            return steps, values
    return np.empty(0), np.empty(0)


def number(*values: Any) -> bool:
    """Whether all values are numbers: a score that was not finite is stored as null."""
    return all(isinstance(value, int | float) for value in values)


def mean_curve(curves: Sequence[Curve], confidence: float = 0.95) -> tuple[Curve, NDArray[np.float64]]:
    """Mean of curves at the steps that all of them reach, and half the width of its t-interval (0 for one curve)."""
    start, end = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
    steps = np.unique(np.concatenate([c[0] for c in curves]))
    steps = steps[(steps >= start) & (steps <= end)]
    values = np.stack([np.interp(steps, *each) for each in curves])
    n = len(curves)
    if n == 1:
        return (steps, values[0]), np.zeros(len(steps))
    half = stdtrit(n - 1, 0.5 + confidence / 2) * values.std(0, ddof=1) / np.sqrt(n)
    return (steps, values.mean(0)), half


def draw_curves(groups: Mapping[str, Sequence[Path]], score: str, out: Path, confidence: float = 0.95) -> list[str]:
    """Write a picture of the groups' curves; return the names of runs that logged none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    without = []
    for (name, folders), colour in zip(groups.items(), COLOURS * len(groups)):
        curves = {folder: curve(folder, score) for folder in folders}
        without += [str(folder) for folder, each in curves.items() if not len(each[0])]
        known = [each for each in curves.values() if len(each[0])]
        if not known:
            continue
        (steps, mean), half = mean_curve(known, confidence)
        label = f"{name} ({len(known)} seeds)" if len(known) > 1 else name
        axis.plot(steps, mean, color=colour, label=label, linewidth=2)
        if len(known) > 1:
            axis.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
            for own_steps, values in known:
                axis.plot(own_steps, values, color=colour, linewidth=0.6, alpha=0.6)
    axis.set_xlabel("steps")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set_ylabel(score)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    return without
