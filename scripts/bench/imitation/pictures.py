"""Pictures of this bench, from the arrays that its parts keep."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TERRAIN = np.array([[150, 150, 150], [120, 180, 80], [130, 100, 70], [90, 140, 220]]) / 255
"""Colours of road, grass, rock and water."""
OBJECTS = np.full((11, 3), 0.5)
OBJECTS[[1, 2, 8, 9]] = [[0.95, 0.95, 0.95], [0.3, 0.3, 0.3], [0.3, 0.8, 0.3], [1.0, 0.5, 0.1]]
"""Colours of MiniGrid's objects: empty, wall, goal, lava."""


def draw_pictures(arrays: Path, out: Path, seed: int = 0) -> Iterator[Path]:
    """Write one PNG for each part that has kept arrays, and yield its path."""
    drawings = {
        "max-ent": max_ent,
        "styles": styles,
        "segments": segments,
        "reaching": reaching,
        "lava": world,
        "rooms": world,
        "homes": world,
    }
    for name, draw in drawings.items():
        path = arrays / f"{name}-{seed}.npz"
        if path.exists():
            figure = draw(np.load(path))
            figure.savefig(out / f"{name}.png", dpi=110, bbox_inches="tight")
            yield out / f"{name}.png"


def grid_of(rows: int, titles: list[str], width: float = 2.2) -> tuple[Any, Array]:
    """A figure of square panels (rows, columns), with titles above the columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(titles), width * rows + 0.3))
    FigureCanvasAgg(figure)
    axes: Array = np.array(figure.subplots(rows, len(titles))).reshape(rows, len(titles))
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure, axes


def walk(axis: Any, path: Array, colour: str) -> None:
    """Mark the cells of a path (rows, columns)."""
    row, column = np.nonzero(path)
    axis.scatter(column, row, s=6, color=colour, linewidths=0)


def ends(axis: Any, start: int, goal: int, columns: int) -> None:
    for cell, marker in ((start, "o"), (goal, "*")):
        axis.scatter(cell % columns, cell // columns, s=40, marker=marker, color="white", edgecolors="black", zorder=3)


def max_ent(kept: Any) -> Any:
    learned = [name for name in kept if name.startswith("learned")]
    titles = ["true reward", *(f"{name.rpartition('_')[2]} demonstrations" for name in learned)]
    figure, axes = grid_of(len(kept["truth"]), titles)
    for number, line in enumerate(axes):
        for axis, name in zip(line, ("truth", *learned)):
            reward = kept[name][number]
            axis.imshow(reward - reward.mean(), cmap="coolwarm", vmin=-2.5, vmax=2.5)
    return figure


def styles(kept: Any) -> Any:
    """Terrain with the paths of both styles, and the true and learned costs of each."""
    panels = [("truth", "road"), ("cost", "road"), ("truth", "hidden"), ("cost", "hidden")]
    words = {"truth": "true cost", "cost": "learned cost"}
    figure, axes = grid_of(len(kept["terrain"]), ["paths", *(f"{style}: {words[what]}" for what, style in panels)])
    side = kept["terrain"].shape[-1]
    for number, line in enumerate(axes):
        line[0].imshow(TERRAIN[kept["terrain"][number]])
        for style, colour in (("road", "crimson"), ("hidden", "black")):
            walk(line[0], kept[f"path_{style}"][number], colour)
        for axis, (what, style) in zip(line[1:], panels):
            axis.imshow(np.log(kept[f"{what}_{style}"][number]), cmap="viridis")
            path = "expert" if what == "truth" else "path"
            walk(axis, kept[f"{path}_{style}"][number], "crimson")
        for axis in line:
            ends(axis, int(kept["start"][number]), int(kept["goal"][number]), side)
    return figure


def segments(kept: Any) -> Any:
    names = ["image", "truth", "single_pixels", "graph_cut"]
    figure, axes = grid_of(1, [name.replace("_", " ") for name in names])
    for axis, name in zip(axes[0], names):
        axis.imshow(kept[name], cmap="gray")
    return figure


def reaching(kept: Any) -> Any:
    figure, axes = grid_of(1, [name.replace("_", " ") for name in kept], 3)
    for axis, name in zip(axes[0], kept):
        for path in kept[name]:
            axis.plot(*np.concatenate([np.zeros((1, 2)), path]).T, color="#2060a0", alpha=0.4, linewidth=0.8)
        axis.scatter([1.5, 3.0], [0.15, 0.0], color=["crimson", "green"], zorder=3)
        axis.set_xlim(-1.5, 4.5)
        axis.set_ylim(-3, 3)
    return figure


def world(kept: Any) -> Any:
    """Unseen maps, and on each the costs that the rules have learned with the paths that follow them."""
    rules = [name.removeprefix("cost_") for name in kept if name.startswith("cost_") and name != "cost_uniform_costs"]
    figure, axes = grid_of(len(kept["features"]), ["map", *(f"{rule.replace('_', ' ')}: log cost" for rule in rules)])
    for number, line in enumerate(axes):
        features = kept["features"][number]
        picture = OBJECTS[features.argmax(0)] if len(features) > 1 else np.repeat(features[0][..., None], 3, -1)
        line[0].imshow(picture, vmin=0, vmax=1)
        for axis, rule in zip(line[1:], rules):
            axis.imshow(np.log(kept[f"cost_{rule}"][number]), cmap="viridis")
            walk(axis, kept[f"path_{rule}"][number], "crimson")
        for axis in line:
            ends(axis, int(kept["start"][number]), int(kept["goal"][number]), features.shape[-1])
    return figure
