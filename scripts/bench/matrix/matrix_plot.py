"""A figure of the matrix: one panel per environment, a dot and its interval per combination, lines for baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodia.scripts.bench.harness.results import Row

COLOURS = {"dagger": "#0072b2", "bc": "#56b4e9", "ppo": "#d55e00", "dreamer": "#009e73", "mpc": "#cc79a7"}
LINES: dict[str, Any] = {"random": (0, (1, 2)), "constant": (0, (5, 3)), "expert": "-"}


def write(path: Path, lines: Sequence[dict[str, Any]], scores: Sequence[Row]) -> None:
    """Plot `scores`, whose combinations `lines` describe; non-learning baselines become lines."""
    from matplotlib.figure import Figure

    rows = [{**line, "score": each.value, "interval": (each.low, each.high)} for line, each in zip(lines, scores)]
    tried = [row for row in rows if row["agent"] not in LINES]
    by_agent = sorted(tried, key=lambda row: list(COLOURS).index(row["agent"]))  # stable
    places = {name: i for i, name in enumerate(dict.fromkeys(map(said, by_agent)))}
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    figure = Figure(figsize=(3.6 + 2.4 * len(worlds), 1.0 + 0.24 * len(places)), layout="constrained")
    panels = figure.subplots(1, len(worlds), sharey=True, squeeze=False)[0]
    for axes, world in zip(panels, worlds, strict=True):
        for row in (row for row in rows if row["world"] == world):
            if row["agent"] in LINES:
                axes.axvline(row["score"], color="#888888", linewidth=1, linestyle=LINES[row["agent"]])
                continue
            y, colour = places[said(row)], COLOURS[row["agent"]]
            axes.plot(row["interval"], (y, y), color=colour, linewidth=2, alpha=0.5)
            axes.plot(row["score"], y, "o", color=colour, markersize=5)
        metric, better = next((row["metric"], row.get("better")) for row in rows if row["world"] == world)
        lower = " (lower is better)" if better == "lower" else ""
        axes.set(title=f"{world}: {metric.replace('_', ' ')}{lower}", xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
        axes.title.set_fontsize(9)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, labelsize=8)
        axes.grid(axis="y", color="#eeeeee")
    panels[0].set_yticks(list(places.values()), list(places))
    panels[0].invert_yaxis()
    legend = "dotted: random; dashed: the best constant action; solid: the expert"
    figure.suptitle(legend, fontsize=8, color="#666666", y=-0.01)
    figure.savefig(path, dpi=100, bbox_inches="tight")


def said(row: dict[str, Any]) -> str:
    """ "encoder: agent (model, planner)"."""
    parts = [row[part] for part in ("model", "planner") if row[part] != "none"]
    return f"{row['encoder']}: {row['agent']}" + f" ({', '.join(parts)})" * bool(parts)
