"""Pictures of this bench, from the samples that its parts keep."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.scripts.report.picture_grid import picture_grid

Array = NDArray[Any]


def draw_pictures(arrays: Path, out: Path, seed: int = 0) -> Iterator[Path]:
    """Write one PNG for each part that has kept its samples, and yield its path."""
    kept = {path.stem: np.load(path) for path in sorted(arrays.glob("*.npz"))}
    drawings: dict[str, tuple[Sequence[str], Callable[..., Any]]] = {
        "denoising": ([f"ddpm-{seed}"], denoising),
        "annealing": ([f"ncsn-{seed}"], annealing),
        "steering": ([f"steering-{seed}"], steering),
        "guidance": ([f"guidance-{seed}"], guidance),
        "consistency": ([f"consistency-{seed}"], consistency),
        "neighbours": ([f"neighbours-{seed}"], neighbours),
        "digits": ([f"digits-{seed}-w{scale}" for scale in (1, 2, 4)], digits),
        "vae": ([f"vae-{seed}"], grids),
        "deep-autoencoder": ([f"deep-{seed}"], grids),
        "sampling-the-code": ([f"code-{seed}"], grids),
        "denoising-autoencoder": ([f"denoising-{seed}"], grids),
        "conv-autoencoder": ([f"conv-{seed}"], grids),
        "chains": ([f"chains-{seed}"], chains),
        "rbm": ([f"rbm-{seed}-{name}" for name in ("cd-1", "cd-10", "pcd-10")], bars_and_stripes),
        "rbm-chain": ([f"rbm-digits-{seed}"], digit_chain),
        "energies": ([f"ebm-{seed}-ebm", f"ebm-{seed}-no-buffer"], energies),
        "energy-digits": ([f"ebm-digits-{seed}"], energy_digits),
        "glyphs": ([f"glyphs-{seed}-plain", f"glyphs-{seed}-scheduled"], glyphs),
    }
    for name, (needs, draw) in drawings.items():
        if all(need in kept for need in needs):
            figure = draw(*(kept[need] for need in needs))
            figure.savefig(out / f"{name}.png", dpi=110, bbox_inches="tight")
            yield out / f"{name}.png"


def panels(titles: Sequence[str], width: float = 2.6) -> tuple[Any, list[Any]]:
    """A figure with square panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(titles), width + 0.3))
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(1, len(titles))))
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes


def scatter(named: dict[str, Array], reach: float) -> Any:
    figure, axes = panels(list(named))
    for axis, points in zip(axes, named.values()):
        axis.scatter(points[:, 0], points[:, 1], s=2, alpha=0.4, linewidths=0, color="#2060a0")
        axis.set_xlim(-reach, reach)
        axis.set_ylim(-reach, reach)
        axis.set_aspect("equal")
    return figure


def denoising(kept: Any) -> Any:
    path = kept["path"]
    named = {f"{100 * i // (len(path) - 1)} % of the steps": x for i, x in enumerate(path)}
    return scatter({**named, "data": kept["data"]}, 3)


def annealing(kept: Any) -> Any:
    def titled(name: str, label: str) -> str:
        return f"{label}\n{(kept[name][:, 0] < 0).mean():.2f} in the small mode"

    names = (
        ("data", "data"),
        ("plain", "plain Langevin"),
        ("annealed", "annealed"),
        ("learned", "annealed, learned"),
    )
    return scatter({titled(name, label): kept[name] for name, label in names}, 10)


def steering(kept: Any) -> Any:
    names = {"plain": "model", "exact": "exact tilted law", "steered": "steered, 8 particles", "best": "best of 8"}
    return scatter({f"{label}\nmean {kept[name][:, 0].mean():.2f}": kept[name] for name, label in names.items()}, 3)


def guidance(kept: Any) -> Any:
    """Histograms of the first coordinate of class 1, by the scale of guidance."""
    names = list(kept)
    figure, axes = panels([f"w = {name[1:]}" for name in names], 2.4)
    grid = np.linspace(-3, 5, 400)
    truth = np.exp(-((grid - 0.7) ** 2) / (2 * 0.6**2)) / (0.6 * np.sqrt(2 * np.pi))
    for axis, name in zip(axes, names):
        axis.hist(kept[name][:, 0], bins=60, range=(-3, 5), density=True, color="#2060a0")
        axis.plot(grid, truth, color="black", linewidth=1)
        axis.axvline(0, color="grey", linewidth=0.7, linestyle=":")
        axis.set_xticks([-2, 0, 2, 4])
    return figure


def consistency(kept: Any) -> Any:
    names = ("data", "teacher", "distilled", "distilled,_two_steps", "trained_alone", "teacher_in_one_step")
    return scatter({name.replace("_", " "): kept[name] for name in names}, 2.2)


def neighbours(kept: Any) -> Any:
    return scatter({name.replace("_", " "): kept[name] for name in kept}, 3)


def digits(*kept: Any) -> Any:
    figure, axes = panels([f"w = {scale}" for scale in (1, 2, 4)], 4)
    for axis, each in zip(axes, kept):
        rows = each["x"][: len(each["x"]) // 10 * 10, 0].reshape(-1, 10, 8, 8)
        axis.imshow(rows.transpose(0, 2, 1, 3).reshape(-1, 80), cmap="gray", vmin=-1, vmax=1)
    return figure


def grids(kept: Any) -> Any:
    """One panel of pictures (n, C, H, W) of 0 to 1 for each array."""
    figure, axes = panels([name.replace("_", " ") for name in kept], 3)
    for axis, pictures in zip(axes, kept.values()):
        grid = picture_grid((255 * pictures.clip(0, 1)).round().astype(np.uint8).transpose(0, 2, 3, 1))
        axis.imshow(grid.repeat(3 // grid.shape[2], 2))
    return figure


def glyphs(plain: Any, scheduled: Any) -> Any:
    named = {"the strings": plain["truth"], "plain training": plain["x"], "scheduled sampling": scheduled["x"]}
    figure, axes = panels(list(named), 3.6)
    for axis, pictures in zip(axes, named.values()):
        axis.imshow(np.pad(pictures[:, 0], ((0, 0), (0, 1), (0, 0))).reshape(-1, 32), cmap="gray", vmin=-1, vmax=1)
    return figure


def mosaic(axis: Any, pictures: Array, columns: int = 10, low: float = 0.0) -> None:
    """Pictures (N, 1, H, W) of `low` to 1 in rows, with a line between them."""
    padded = np.pad(
        pictures[: len(pictures) // columns * columns, 0], ((0, 0), (0, 1), (0, 1)), constant_values=(1 + low) / 2
    )
    height, width = padded.shape[1:]
    rows = padded.reshape(-1, columns, height, width)
    axis.imshow(rows.transpose(0, 2, 1, 3).reshape(-1, columns * width), cmap="gray", vmin=low, vmax=1)


def chains(kept: Any) -> Any:
    """The first draws of one chain of each sampler, on the contours of the law."""
    figure, axes = panels(list(kept))
    grid = np.linspace(-3.5, 3.5, 100)
    x, y = np.meshgrid(grid, grid)
    for axis, path in zip(axes, kept.values()):
        axis.contour(grid, grid, (x**2 - 1.9 * x * y + y**2) / 0.0975, levels=[1, 4, 9], colors="grey", linewidths=0.7)
        axis.plot(*path.T, marker="o", markersize=2, linewidth=0.6, color="#2060a0")
        axis.set_xlim(-3.5, 3.5)
        axis.set_ylim(-3.5, 3.5)
        axis.set_aspect("equal")
    return figure


def bars_and_stripes(*kept: Any) -> Any:
    figure, axes = panels(["CD-1", "CD-10", "PCD-10"])
    for axis, each in zip(axes, kept):
        mosaic(axis, each["x"])
    return figure


def digit_chain(kept: Any) -> Any:
    steps = np.geomspace(1, 1000, len(kept["chain"])).astype(int)
    figure, axes = panels([f"after {step} Gibbs steps" for step in steps], 2)
    for axis, each in zip(axes, kept["chain"]):
        mosaic(axis, each, 5)
    return figure


def energies(trained: Any, control: Any) -> Any:
    """Densities that the energies give, and the ends of their chains."""
    figure, axes = panels(["data", "chains", "density", "chains, no buffer", "density, no buffer"])
    points = {0: trained["data"], 1: trained["x"], 3: control["x"]}
    for i, x in points.items():
        axes[i].scatter(x[:, 0], x[:, 1], s=2, alpha=0.4, linewidths=0, color="#2060a0")
        axes[i].set_xlim(-4, 4)
        axes[i].set_ylim(-4, 4)
        axes[i].set_aspect("equal")
    for i, each in ((2, trained), (4, control)):
        density = np.exp(each["energy"].min() - each["energy"])
        axes[i].imshow(density.T, origin="lower", extent=(-4, 4, -4, 4), cmap="Blues")
    return figure


def energy_digits(kept: Any) -> Any:
    figure, axes = panels(["chains from noise, a class a column", "the replay buffer"], 4)
    for axis, name in zip(axes, ("x", "buffer")):
        mosaic(axis, kept[name], low=-1.0)
    return figure
