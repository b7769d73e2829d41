"""The textures of generated homes: drawn by formula, seamless where they repeat, mostly pale and tinted when used.

Every home shares the one tuple `textures()`; `Material` says how a surface uses it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from embodia.envs.drawing.scene import Array

SIZE = 256  # texels along a side


class Material(NamedTuple):
    """How a surface looks."""

    texture: str  # name in TEXTURES
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor in display space
    scale: float = 1.0  # [m] that one repeat covers; 0: the texture is stretched over each face once
    glow: float = 0.0  # light the surface gives off by itself; 1 shows the texture as it is


def tinted(material: Material, tint: Array | tuple[float, ...]) -> Material:
    """The same surface in another colour."""
    return material._replace(tint=(float(tint[0]), float(tint[1]), float(tint[2])))


def _noise(rng: np.random.Generator, exponent: float, stretch: float = 1.0) -> Array:
    """Seamless noise (SIZE, SIZE) of mean 0 and deviation 1, spectrum ~ 1 / frequency^exponent; stretched along x."""
    fx, fy = np.fft.fftfreq(SIZE) * SIZE, np.fft.fftfreq(SIZE)[:, None] * SIZE
    radius = np.sqrt((fx * stretch) ** 2 + fy**2)
    radius[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) / radius**exponent).real
    return np.asarray((field - field.mean()) / field.std())


def _grid() -> tuple[Array, Array]:
    """x to the right and y downwards, in 0..1 at texel centres."""
    y, x = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE, indexing="ij")
    return x, y


def _grey(value: Array) -> Array:
    return np.repeat(value[..., None], 3, axis=2)


def _mix(a: Array | tuple[float, ...], b: Array | tuple[float, ...], share: Array) -> Array:
    return np.asarray(a) * (1 - share[..., None]) + np.asarray(b) * share[..., None]


def _plain(rng: np.random.Generator) -> Array:
    return _grey(np.full((SIZE, SIZE), 0.96))


def _plaster(rng: np.random.Generator) -> Array:
    return _grey(0.955 + 0.008 * _noise(rng, 0.6) + 0.008 * _noise(rng, 1.6))


def _stripes(rng: np.random.Generator) -> Array:
    x, _ = _grid()
    band = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 8 * x))
    return _grey(0.9 + 0.06 * band + 0.006 * _noise(rng, 0.5))


def _damask(rng: np.random.Generator) -> Array:
    x, y = _grid()
    wave = np.cos(2 * np.pi * 4 * x) * np.cos(2 * np.pi * 4 * y) + 0.5 * np.cos(2 * np.pi * 8 * (x + y)) * np.cos(
        2 * np.pi * 8 * (x - y)
    )
    return _grey(0.9 + 0.05 * np.tanh(4 * wave) + 0.006 * _noise(rng, 0.5))


def _planks(rng: np.random.Generator) -> Array:
    """Eight boards a repeat, along x, with staggered joints."""
    x, y = _grid()
    board = (y * 8).astype(int)
    joint = rng.permutation(8)[board] / 8
    along = (x + joint) % 1.0
    half = (along * 2).astype(int)
    tone = rng.uniform(0.76, 1.0, (8, 2))[board, half]
    grain = 0.035 * _noise(rng, 1.0, 12.0) + 0.03 * np.sin(2 * np.pi * (y * 8 * 3 + 0.3 * _noise(rng, 1.5, 6.0)))
    edge = np.minimum((y * 8) % 1, 1 - (y * 8) % 1) / 8
    end = np.minimum((along * 2) % 1, 1 - (along * 2) % 1) / 2
    gap = np.exp(-((edge / 0.0035) ** 2)) + np.exp(-((end / 0.003) ** 2))
    value = (tone + grain) * (1 - 0.45 * gap.clip(0, 1))
    return _grey(value) * np.array([1.0, 0.985, 0.96])


def _herringbone(rng: np.random.Generator) -> Array:
    """Blocks of 1 by 4 laid in right angles."""
    x, y = _grid()
    u, v = np.floor(x * 16).astype(int), np.floor(y * 16).astype(int)
    lying = (u + v) % 8 < 4
    start = np.where(lying, u - (u + v) % 8, u)
    row = np.where(lying, v, v - ((u + v) % 8 - 4))
    tone = rng.uniform(0.72, 1.0, 997)[(start % 16 * 31 + row % 16 * 57 + lying * 7) % 997]
    along = np.where(lying, (x * 16 - start) / 4, (y * 16 - row) / 4) % 1.0
    across = np.where(lying, (y * 16) % 1, (x * 16) % 1)
    edge = np.minimum(np.minimum(across, 1 - across), 4 * np.minimum(along, 1 - along))
    grain = np.where(lying, _noise(rng, 1.0, 10.0), _noise(rng, 1.0, 10.0).T) * 0.035
    return _grey((tone + grain) * (1 - 0.4 * np.exp(-((edge / 0.07) ** 2)))) * np.array([1.0, 0.98, 0.95])


def _tiles(rng: np.random.Generator, columns: int, rows: int, offset: float, spread: float) -> Array:
    x, y = _grid()
    row = np.floor(y * rows).astype(int)
    place = x * columns + offset * (row % 2)
    column = np.floor(place).astype(int) % columns
    tone = rng.uniform(1 - spread, 1.0, (rows, columns))[row, column]
    across, down = place % 1, (y * rows) % 1
    edge = np.minimum(np.minimum(across, 1 - across) / columns, np.minimum(down, 1 - down) / rows)
    grout = np.exp(-((edge / 0.006) ** 4))
    return _grey((0.955 * tone + 0.01 * _noise(rng, 1.2)) * (1 - grout) + 0.74 * grout)


def _floor_tiles(rng: np.random.Generator) -> Array:
    return _tiles(rng, 4, 4, 0.0, 0.07)


def _subway(rng: np.random.Generator) -> Array:
    return _tiles(rng, 4, 8, 0.5, 0.04)


def _marble(rng: np.random.Generator) -> Array:
    vein = np.exp(-np.abs(_noise(rng, 1.8)) * 14) + 0.6 * np.exp(-np.abs(_noise(rng, 1.5)) * 18)
    return _mix((0.94, 0.935, 0.925), (0.62, 0.62, 0.64), (0.55 * vein).clip(0, 1)) + 0.01 * _grey(_noise(rng, 1.0))


def _carpet(rng: np.random.Generator) -> Array:
    return _grey(0.86 + 0.05 * _noise(rng, 0.2) + 0.025 * _noise(rng, 1.2))


def _fabric(rng: np.random.Generator) -> Array:
    x, y = _grid()
    weave = np.sin(2 * np.pi * 64 * x) * np.sin(2 * np.pi * 64 * y)
    return _grey(0.9 + 0.035 * weave + 0.02 * _noise(rng, 0.4) + 0.015 * _noise(rng, 1.5))


def _wood(rng: np.random.Generator) -> Array:
    """Grain along y, as on upright boards."""
    x, _ = _grid()
    drift = _noise(rng, 1.7, 1.0).T * 0.06
    rings = np.sin(2 * np.pi * (9 * x + 3 * drift)) * 0.5 + np.sin(2 * np.pi * (23 * x + 5 * drift)) * 0.25
    return _grey(0.88 + 0.05 * rings + 0.03 * _noise(rng, 1.0, 14.0).T) * np.array([1.0, 0.985, 0.965])


def _metal(rng: np.random.Generator) -> Array:
    return _grey(0.9 + 0.02 * _noise(rng, 0.7, 20.0))


def _leaf(rng: np.random.Generator) -> Array:
    x, y = _grid()
    rib = np.exp(-(((x - 0.5) / 0.03) ** 2)) + 0.4 * np.exp(
        -((((np.abs(x - 0.5) * 1.2 + y) * 8 % 1 - 0.5) / 0.08) ** 2)
    )
    return _mix((0.75, 0.85, 0.7), (0.95, 1.0, 0.85), rib.clip(0, 1)) + 0.03 * _grey(_noise(rng, 1.0))


def _books(rng: np.random.Generator) -> Array:
    """A shelf of spines, standing."""
    x, y = _grid()
    edges = np.sort(np.append(rng.uniform(0, 1, 21), [0.0]))
    book = np.searchsorted(edges, x[0], side="right") - 1
    colours = np.array([(0.55, 0.16, 0.14), (0.16, 0.27, 0.42), (0.2, 0.36, 0.25), (0.8, 0.72, 0.55), (0.35, 0.25, 0.2),
                        (0.72, 0.5, 0.2), (0.85, 0.83, 0.78), (0.2, 0.2, 0.23)])  # fmt: skip
    colour = colours[rng.integers(0, len(colours), len(edges))[book]] * rng.uniform(0.8, 1.15, (len(edges), 1))[book]
    height = rng.uniform(0.02, 0.22, len(edges))[book]
    image = np.tile(colour[None], (SIZE, 1, 1))
    label = rng.uniform(0.3, 0.6, len(edges))[book]
    image[(np.abs(y - label) < 0.03) & (y > height)] *= 1.5
    width = np.diff(np.append(edges, 1.0))[book]
    place = (x[0] - edges[book]) / width
    image = image * (1 - 0.35 * np.abs(2 * place - 1) ** 6)[None, :, None]
    image[y < height] = (0.1, 0.08, 0.07)
    return image


def _screen(rng: np.random.Generator) -> Array:
    """A dark screen with a bezel and a soft reflection."""
    x, y = _grid()
    image = _mix((0.035, 0.04, 0.05), (0.13, 0.15, 0.18), ((1 - y) * 0.8 * (np.sin(2 * (x + y)) > 0.55)).clip(0, 1))
    image[(np.minimum(x, 1 - x) < 0.018) | (np.minimum(y, 1 - y) < 0.03)] = 0.02
    return image


def _landscape(rng: np.random.Generator) -> Array:
    """A framed picture: hills under an evening sky."""
    x, y = _grid()
    image = _mix((0.95, 0.72, 0.5), (0.4, 0.55, 0.75), (1 - y * 1.6).clip(0, 1))
    for k, colour in enumerate([(0.55, 0.5, 0.6), (0.33, 0.4, 0.42), (0.2, 0.28, 0.22)]):
        ridge = 0.5 + 0.13 * k + 0.06 * np.sin(2 * np.pi * (x * (1.3 + k) + rng.random())) + 0.02 * np.sin(31 * x)
        image[y > ridge] = colour
    sun = (x - 0.7) ** 2 + (y - 0.3) ** 2 < 0.006
    image[sun] = (1.0, 0.9, 0.7)
    return _framed(image, (0.25, 0.17, 0.11))


def _abstract(rng: np.random.Generator) -> Array:
    """A framed picture: rectangles of colour."""
    x, y = _grid()
    image = np.tile(np.array([0.92, 0.9, 0.85]), (SIZE, SIZE, 1))
    palette = np.array([(0.75, 0.2, 0.17), (0.15, 0.3, 0.5), (0.9, 0.7, 0.2), (0.12, 0.12, 0.14), (0.45, 0.6, 0.55)])
    for _ in range(9):
        cx, cy, w, h = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.3), rng.uniform(0.06, 0.3)
        image[(np.abs(x - cx) < w / 2) & (np.abs(y - cy) < h / 2)] = palette[rng.integers(len(palette))]
    return _framed(image, (0.12, 0.12, 0.12))


def _framed(image: Array, colour: tuple[float, float, float]) -> Array:
    x, y = _grid()
    margin = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    image[margin < 0.12] = (0.94, 0.93, 0.9)
    image[margin < 0.05] = colour
    return image


def _view(rng: np.random.Generator) -> Array:
    """What is seen through a window: sky, clouds, a line of trees, a lawn."""
    x, y = _grid()
    cloud = (0.5 + 0.5 * _noise(rng, 1.7, 0.6)).clip(0, 1) * (1 - y)
    image = _mix(_mix((0.47, 0.68, 0.94), (0.86, 0.93, 0.99), (y * 1.6).clip(0, 1)), (1.0, 1.0, 1.0), cloud)
    crown = 0.66 + 0.025 * np.sin(2 * np.pi * 5 * x) + 0.02 * np.sin(2 * np.pi * 13 * x + 1) + 0.015 * _noise(rng, 1.0)
    trees = y > crown
    image[trees] = (np.array([0.3, 0.43, 0.24]) + 0.05 * _grey(_noise(rng, 0.8)))[trees]
    lawn = y > 0.82
    image[lawn] = (np.array([0.48, 0.62, 0.33]) + 0.03 * _grey(_noise(rng, 0.5)))[lawn]
    return image


def _rug(rng: np.random.Generator) -> Array:
    x, y = _grid()
    margin = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    ring = (np.floor(margin * 28) % 3 == 1) & (margin < 0.25)
    medallion = np.abs(x - 0.5) + np.abs(y - 0.5)
    inner = (np.floor(medallion * 16) % 2 == 0) & (margin >= 0.25)
    value = np.where(ring | inner, 0.62, 0.92)
    value = np.where((margin > 0.02) & (margin < 0.04), 0.45, value)
    return _grey(value + 0.03 * _noise(rng, 0.3))


def _curtain(rng: np.random.Generator) -> Array:
    x, _ = _grid()
    fold = np.sin(2 * np.pi * 8 * x + 0.6 * np.sin(2 * np.pi * 2 * x))
    return _grey(0.84 + 0.11 * fold + 0.012 * _noise(rng, 0.5))


def _panels(columns: int, rows: int, margin: float, handles: bool) -> Callable[[np.random.Generator], Array]:
    """A front of bevelled panels; with handles, of drawers or cupboard doors."""

    def image(rng: np.random.Generator) -> Array:
        x, y = _grid()
        u, v = (x * columns) % 1, (y * rows) % 1
        du, dv = np.minimum(u, 1 - u) / columns, np.minimum(v, 1 - v) / rows
        edge = np.minimum(du, dv)
        value = 0.92 + 0.02 * _noise(rng, 1.0, 14.0).T
        value = value * (1 - 0.5 * (edge < 0.006))
        bevel = np.abs(edge - margin) < 0.008
        lit = np.where(dv <= du, np.where(v < 0.5, 0.8, 1.08), np.where(u < 0.5, 0.86, 1.04))
        value = np.where(bevel, value * lit, value)
        result = _grey(value)
        if handles:
            wide = columns <= rows
            side = np.where(np.floor(x * columns) % 2 == 0, 0.85, 0.15)
            grip = (np.abs(u - 0.5) < 0.14) & (np.abs(v - 0.5) * 1 / rows < 0.012) if wide else (
                (np.abs(u - side) / columns < 0.01) & (np.abs(v - 0.4) < 0.1)
            )  # fmt: skip
            result[grip] = (0.45, 0.45, 0.46)
        return result

    return image


def _oven(rng: np.random.Generator) -> Array:
    x, y = _grid()
    image = np.tile(np.array([0.75, 0.76, 0.78]), (SIZE, SIZE, 1)) + 0.01 * _grey(_noise(rng, 0.7, 20.0))
    image[(np.abs(x - 0.5) < 0.4) & (np.abs(y - 0.6) < 0.27)] = (0.07, 0.07, 0.08)
    image[(np.abs(x - 0.5) < 0.38) & (np.abs(y - 0.27) < 0.015)] = (0.5, 0.5, 0.52)
    for k in range(5):
        image[(x - 0.18 - 0.16 * k) ** 2 + (y - 0.12) ** 2 < 0.0016] = (0.15, 0.15, 0.16)
    return image


def _hob(rng: np.random.Generator) -> Array:
    x, y = _grid()
    image = np.full((SIZE, SIZE, 3), 0.06)
    for cx, cy, r in ((0.27, 0.3, 0.16), (0.73, 0.3, 0.12), (0.27, 0.72, 0.12), (0.73, 0.72, 0.16)):
        ring = np.abs(np.hypot(x - cx, y - cy) - r) < 0.012
        image[ring] = (0.35, 0.33, 0.32)
    return image


DRAWN: dict[str, Callable[[np.random.Generator], Array]] = {
    "plain": _plain,
    "plaster": _plaster,
    "stripes": _stripes,
    "damask": _damask,
    "planks": _planks,
    "herringbone": _herringbone,
    "tiles": _floor_tiles,
    "subway": _subway,
    "marble": _marble,
    "carpet": _carpet,
    "fabric": _fabric,
    "wood": _wood,
    "metal": _metal,
    "leaf": _leaf,
    "books": _books,
    "screen": _screen,
    "landscape": _landscape,
    "abstract": _abstract,
    "view": _view,
    "rug": _rug,
    "curtain": _curtain,
    "door": _panels(2, 3, 0.035, False),
    "cupboard": _panels(2, 1, 0.035, True),
    "drawers": _panels(1, 3, 0.03, True),
    "oven": _oven,
    "hob": _hob,
}
TEXTURES = tuple(DRAWN)
"""Names, in the order of `textures()`."""


@lru_cache(maxsize=1)
def textures() -> tuple[Array, ...]:
    """The images (SIZE, SIZE, 3) uint8; the same objects at every call, so that homes share them."""
    images = []
    for number, draw in enumerate(DRAWN.values()):
        value = draw(np.random.default_rng([7, number]))
        images.append(np.round(value.clip(0, 1) * 255).astype(np.uint8))
        images[-1].setflags(write=False)
    return tuple(images)
