"""Exact tests on integer points (x, y, z) in plan, as outlines and triangulations need them.

Source: O'Rourke 1998, "Computational Geometry in C", chapter 1, which Recast follows.
"""

from typing import Any

from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Array = NDArray[Any]


@compiled_exactly
def area(a: Array, b: Array, c: Array) -> int:
    """Twice the signed area of a triangle; negative = c lies on the inner side of edge ab of an outline."""
    return (b[0] - a[0]) * (c[2] - a[2]) - (c[0] - a[0]) * (b[2] - a[2])


@compiled_exactly
def same_place(a: Array, b: Array) -> bool:
    return a[0] == b[0] and a[2] == b[2]


@compiled_exactly
def _between(a: Array, b: Array, c: Array) -> bool:
    """Whether c lies on segment ab."""
    if area(a, b, c) != 0:
        return False
    if a[0] != b[0]:
        return (a[0] <= c[0] <= b[0]) or (a[0] >= c[0] >= b[0])
    return (a[2] <= c[2] <= b[2]) or (a[2] >= c[2] >= b[2])


@compiled_exactly
def crosses_properly(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether segments ab and cd meet within both."""
    abc, abd, cda, cdb = area(a, b, c), area(a, b, d), area(c, d, a), area(c, d, b)
    if abc == 0 or abd == 0 or cda == 0 or cdb == 0:
        return False
    return ((abc > 0) != (abd > 0)) and ((cda > 0) != (cdb > 0))


@compiled_exactly
def crosses(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether segments ab and cd meet, ends included."""
    if crosses_properly(a, b, c, d):
        return True
    return _between(a, b, c) or _between(a, b, d) or _between(c, d, a) or _between(c, d, b)


@compiled_exactly
def inside_cone(before: Array, at: Array, after: Array, point: Array, strict: bool) -> bool:
    """Whether `point` lies on the inner side of the corner before-at-after; its edges count unless `strict`."""
    slack = 0 if strict else 1
    if area(before, at, after) <= 0:  # convex corner
        return area(at, point, before) < slack and area(point, at, after) < slack
    return not (area(at, point, after) <= 0 and area(point, at, before) <= 0)
