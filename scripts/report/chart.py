"""Small charts as HTML and SVG: confidence intervals, and curves with bands."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 168, 44, 24, 10  # [SVG units, pixels at full size]
POINTS = 240


class Whisker(NamedTuple):
    name: str
    value: float
    low: float
    high: float


class Curve(NamedTuple):
    name: str
    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def number(x: float) -> str:
    """Format a number with three significant digits, with k, M or G for large ones."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(x) >= size:
            return f"{x / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{x:.0f}" if abs(x) >= 1e3 else f"{x:.3g}"


def span(value: float, low: float, high: float) -> str:
    """Format `value [low, high]` with as many decimals as the interval's width justifies.

    At most three, or five where all are below 0.01.
    """
    width, most = high - low, 3 if max(abs(low), abs(high)) >= 0.01 else 5
    digits = most if width <= 0 else int(min(most, max(0, 1 - np.floor(np.log10(width)))))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def whiskers(rows: Sequence[Whisker]) -> str:
    """Return a chart with one line per policy on a shared axis: a dot for the mean, a bar for its interval."""
    low, high = limits([each for row in rows for each in (row.low, row.high)], unit=True)

    def at(x: float) -> float:
        return 100 * (x - low) / (high - low)

    lines = []
    for row in rows:
        left, right = at(row.low), at(row.high)
        label = span(row.value, row.low, row.high)
        lines.append(
            f'<div class="row {escape(row.name)}"><span class="who">{escape(row.name)}</span>'
            f'<span class="track"><i class="bar" style="left:{left:.2f}%;width:{max(right - left, 0.4):.2f}%"></i>'
            f'<i class="dot" style="left:{at(row.value):.2f}%"></i></span><span class="num">{label}</span></div>'
        )
    ends = f"<span>{number(low)}</span><span>{number((low + high) / 2)}</span><span>{number(high)}</span>"
    return f'<div class="whiskers">{"".join(lines)}<div class="axis">{ends}</div></div>'


def limits(values: Sequence[float], unit: bool = False) -> tuple[float, float]:
    """Return the limits of an axis; with `unit`, 0 to 1 if all values are in that range."""
    low, high = float(min(values)), float(max(values))
    if unit and low >= 0 and high <= 1:
        return 0.0, 1.0
    if low == high:
        return low - 0.5, high + 0.5
    return low, high


def curve(line: Curve) -> str:
    """Return a curve as an SVG figure, with a band if it has intervals; long curves are subsampled."""
    keep = np.unique(np.linspace(0, len(line.steps) - 1, POINTS).astype(int))
    steps, values = np.asarray(line.steps, float)[keep], np.asarray(line.values, float)[keep]
    low = values if line.low is None else np.asarray(line.low, float)[keep]
    high = values if line.high is None else np.asarray(line.high, float)[keep]
    x0, x1 = limits([float(steps.min()), float(steps.max())])
    y0, y1 = limits([float(low.min()), float(high.max())], unit="success" in line.name)

    def px(x: Floats) -> Floats:
        return LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - 10)

    def py(y: Floats) -> Floats:
        return HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP)

    parts = [grid(y, float(py(np.array(y)))) for y in (y0, (y0 + y1) / 2, y1)]
    if line.low is not None:
        outline = [*zip(px(steps), py(high)), *zip(px(steps)[::-1], py(low)[::-1])]
        parts.append(f'<polygon class="band" points="{points(outline)}"/>')
    parts.append(f'<polyline class="line" points="{points([*zip(px(steps), py(values))])}"/>')
    if len(steps) <= 30:
        parts += [f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in zip(px(steps), py(values))]
    for x, anchor in ((x0, "start"), (x1, "end")):
        place = float(px(np.array(x)))
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{number(x)}</text>')
    label = escape(f"{line.name} over steps, from {number(values[0])} to {number(values[-1])}")
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(line.name)}</figcaption>{svg}</figure>"


def grid(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
    )


def points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
