"""Pictures of value iteration networks, from the arrays that the bench keeps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embodia.scripts.bench.imitation.pictures import ends, grid_of

NETWORKS = {"vin": "value iteration network", "cnn": "CNN", "fcn": "FCN"}


def draw_pictures(arrays: Path, out: Path) -> Iterator[Path]:
    """Write the pictures whose arrays are there, and yield their paths."""
    there = {name: arrays / f"larger-{name}.npz" for name in NETWORKS}
    drawings = {}
    if all(path.exists() for path in there.values()):
        drawings["vin-larger-maps"] = larger({name: np.load(path) for name, path in there.items()})
    for path in sorted(arrays.glob("values-*-vin.npz")):
        drawings[f"vin-{path.stem.removesuffix('-vin')}"] = values(np.load(path))
    for name, figure in drawings.items():
        figure.savefig(out / f"{name}.png", dpi=110, bbox_inches="tight")
        yield out / f"{name}.png"


def larger(kept: dict[str, Any]) -> Any:
    """Paths on 16 x 16 maps of networks that were trained on 8 x 8, one column for each network."""
    figure, axes = grid_of(len(kept["vin"]["maps"]), [NETWORKS[name] for name in kept])
    for column, each in zip(axes.T, kept.values()):
        for axis, maps, path in zip(column, each["maps"], each["path"]):
            side = maps.shape[-1]
            goal = int(maps[1].argmax())
            axis.imshow(1 - maps[0], cmap="gray", vmin=-0.5, vmax=1)
            axis.plot(path % side, path // side, color="seagreen" if path[-1] == goal else "crimson", linewidth=2)
            ends(axis, int(path[0]), goal, side)
    return figure


def values(kept: Any) -> Any:
    """Maps with their learned rewards and values."""
    figure, axes = grid_of(len(kept["maps"]), ["map and goal", "reward", "value"])
    for line, maps, reward, value in zip(axes, kept["maps"], kept["rewards"], kept["values"]):
        goal, side = int(maps[1].argmax()), maps.shape[-1]
        line[0].imshow(1 - maps[0], cmap="gray", vmin=-0.5, vmax=1)
        line[0].scatter(goal % side, goal // side, s=60, marker="*", color="white", edgecolors="black")
        line[1].imshow(reward[0], cmap="coolwarm")
        line[2].imshow(value[0], cmap="viridis")
    return figure
