"""Puts a home together from boxes, prisms and quads, and hands it over as arrays.

A piece is built in its own frame (x right, y up, z to its front, origin on the floor) and placed by a turn about the
vertical and a shift.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from embodia.envs.drawing.scene import Array
from embodia.envs.homes.generator.texture import TEXTURES, Material

INDEX = {name: number for number, name in enumerate(TEXTURES)}

# The faces of a box: low or high end of each axis for its corners, counter-clockwise from outside, bottom left first.
FACES = {
    "left": ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)),
    "right": ((1, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)),
    "bottom": ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
    "top": ((0, 1, 1), (1, 1, 1), (1, 1, 0), (0, 1, 0)),
    "back": ((1, 0, 0), (0, 0, 0), (0, 1, 0), (1, 1, 0)),
    "front": ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)),
}
_ENDS = np.array(list(FACES.values())) * 3 + np.arange(3)  # places in (low, high) of the corners of all faces
STANDING = ("bottom",)  # hidden sides of a box that stands on something
AGAINST_WALL = ("bottom", "back")
_UNIT = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


class Quads(NamedTuple):
    """All faces of a home. A triangle is a quad whose second half is skipped."""

    corners: Array  # (Q, 4, 3) float64 [m], counter-clockwise from the front
    uv: Array  # (Q, 4, 2)
    texture: Array  # (Q,)
    tint: Array  # (Q, 3)
    glow: Array  # (Q,)
    semantic_id: Array  # (Q,)
    room: Array  # (Q,)
    double_sided: Array  # (Q,) bool
    half: Array  # (Q,) bool, only the triangle of the first three corners
    shell: Array  # (Q,) bool, part of the rooms themselves: lit more finely


@dataclass
class MeshBuilder:
    """Collects faces; `quads()` ends the work."""

    labels: dict[int, tuple[str, int]] = field(default_factory=dict)  # semantic id: (category, room)
    yaws: dict[int, float] = field(default_factory=dict)  # semantic id: how the object is turned [rad]
    _corners: list[Array] = field(default_factory=list)
    _attributes: list[tuple[float, ...]] = field(default_factory=list)
    _places: list[tuple[float, float, float, float]] = field(default_factory=lambda: [(0.0, 0.0, 0.0, 0.0)])
    _outer: list[tuple[float, float, float, float]] = field(default_factory=list)
    _occluders: list[tuple[float, ...]] = field(default_factory=list)
    _semantic: int = 0
    _room: int = -1
    _shell: bool = False

    def begin(self, category: str, room: int, shell: bool = False) -> int:
        """Start a new object, to which all following faces belong. Return its semantic id."""
        self._semantic = len(self.labels) + 1
        self.labels[self._semantic] = (category, room)
        self.yaws[self._semantic] = self._places[-1][3]
        self._room, self._shell = room, shell
        return self._semantic

    def place(self, x: float, y: float, z: float, yaw: float) -> None:
        """Set the frame of the following faces; `yaw` [rad] turns counter-clockwise seen from above."""
        self._places.append((x, y, z, yaw))

    def place_within(self, x: float, y: float, z: float, yaw: float) -> None:
        """A frame inside the present one, until `leave`."""
        px, py, pz, turn = self._places[-1]
        cos, sin = np.cos(turn), np.sin(turn)
        self._outer.append(self._places[-1])
        self.place(px + cos * x + sin * z, py + y, pz - sin * x + cos * z, turn + yaw)

    def leave(self) -> None:
        """Back to the frame before `place_within`."""
        self.place(*self._outer.pop())

    def quad(
        self,
        corners: Array,
        material: Material,
        *,
        origin: tuple[float, float] = (0.0, 0.0),
        double_sided: bool = False,
        half: bool = False,
    ) -> None:
        """Corners (4, 3): from the bottom left round to the top left, seen from the front."""
        self._corners.append(corners)
        self._attributes.append(
            (INDEX[material.texture], *material.tint, material.glow, self._semantic, self._room, double_sided, half,
             self._shell, material.scale, *origin, len(self._places) - 1)
        )  # fmt: skip

    def box(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        material: Material,
        *,
        without: tuple[str, ...] = STANDING,
        front: Material | None = None,
        top: Material | None = None,
        shade: bool = True,
    ) -> None:
        """An upright box between two corners; `without` names the faces left out, `shade` says it throws a shadow."""
        faces = np.array([*low, *high], float)[_ENDS]
        for name, corners in zip(FACES, faces):
            if name not in without:
                special = front if name == "front" else top if name == "top" else None
                self.quad(corners, special or material)
        if shade:
            self.occluder(low, high)

    def occluder(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        """Add an invisible box that casts a shadow in its room."""
        self._occluders.append((*low, *high, self._room, len(self._places) - 1))

    def prism(
        self,
        middle: tuple[float, float],
        bottom: float,
        top: float,
        radius: float,
        sides: int,
        material: Material,
        *,
        top_radius: float | None = None,
        cap: bool = True,
        stretch: float = 1.0,
    ) -> None:
        """An upright n-sided prism or frustum at (x, z); `stretch` widens it along z. The lid is cut in quads."""
        angle = 2 * np.pi * (np.arange(sides + 1) + 0.5) / sides
        ring = np.stack([np.sin(angle), np.zeros(sides + 1), np.cos(angle) * stretch], axis=1)
        foot = np.array([middle[0], bottom, middle[1]]) + ring * radius
        head = np.array([middle[0], top, middle[1]]) + ring * (radius if top_radius is None else top_radius)
        turn = 2 * np.pi * radius / sides
        for k in range(sides):
            corners = np.stack([foot[k], foot[k + 1], head[k + 1], head[k]])
            self.quad(corners, material, origin=(k * turn, 0.0))
        if cap:
            self.disc(middle, top, radius if top_radius is None else top_radius, sides, material, stretch=stretch)

    def disc(
        self, middle: tuple[float, float], y: float, radius: float, sides: int, material: Material, *,
        stretch: float = 1.0, downward: bool = False,
    ) -> None:  # fmt: skip
        """A level n-gon at (x, z), cut in quads, facing up or down."""
        angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides * (-1 if downward else 1)
        x, z = middle[0] + radius * np.sin(angle), middle[1] + radius * stretch * np.cos(angle)
        rim = np.stack([x, np.full(sides, y), z], axis=1)
        for k in range(1, sides - 1, 2):
            self.quad(rim[[0, k, k + 1, (k + 2) % sides]], material, half=k + 2 > sides - 1)

    def quads(self) -> Quads:
        a = np.array(self._attributes, float)
        corners = np.array(self._corners)
        sides = np.linalg.norm(corners[:, [1, 3]] - corners[:, [0]], axis=2)  # width and height [m]
        scale = a[:, 10, None, None]
        uv = np.where(scale > 0, (_UNIT * sides[:, None] + a[:, None, 11:13]) / np.maximum(scale, 1e-9), _UNIT)
        turns, shifts = self._frames()
        place = a[:, 13].astype(int)
        corners = np.einsum("qij,qkj->qki", turns[place], corners) + shifts[place, None]
        whole, flags = a[:, [0, 5, 6]].astype(np.int32), a[:, 7:10].astype(bool)
        return Quads(
            corners,
            uv,
            whole[:, 0],
            a[:, 1:4],
            a[:, 4],
            whole[:, 1],
            whole[:, 2],
            flags[:, 0],
            flags[:, 1],
            flags[:, 2],
        )

    def occluders(self) -> Array:
        """(B, 7): low and high corner, room. Boxes turned by no right angle shrink to what they surely fill."""
        boxes = np.array(self._occluders, float).reshape(-1, 8)
        turns, shifts = self._frames()
        place = boxes[:, 7].astype(int)
        middle = np.einsum("bij,bj->bi", turns[place], (boxes[:, :3] + boxes[:, 3:6]) / 2) + shifts[place]
        half = np.abs(turns[place] * (boxes[:, None, 3:6] - boxes[:, None, :3]) / 2)
        square = (np.abs(turns[place]) > 1 - 1e-6).sum(axis=(1, 2)) == 3
        reach = np.where(square[:, None], half.sum(axis=2), half.max(axis=2))
        return np.column_stack([middle - reach, middle + reach, boxes[:, 6]])

    def _frames(self) -> tuple[Array, Array]:
        """Rotation (P, 3, 3) and shift (P, 3) of every placement."""
        places = np.array(self._places)
        cos, sin, turns = np.cos(places[:, 3]), np.sin(places[:, 3]), np.tile(np.eye(3), (len(places), 1, 1))
        turns[:, 0, 0], turns[:, 0, 2], turns[:, 2, 0], turns[:, 2, 2] = cos, sin, -sin, cos
        return turns, places[:, :3]
