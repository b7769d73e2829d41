"""Maps on disk, and maps of several walks merged into one."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.perception.mapping import MapLayout

Array = NDArray[Any]


class MapError(ValueError):
    """A file that is no map, or maps that do not fit together."""


@dataclass(frozen=True)
class StoredMap:
    """One map (H, W, C) with its layout."""

    cells: Array
    layout: MapLayout

    def save(self, path: Path) -> None:
        """Write an .npz file with the cells and the layout as JSON."""
        np.savez_compressed(path, cells=self.cells, layout=np.array(json.dumps(asdict(self.layout))))


def load_map(path: Path) -> StoredMap:
    """Read a map that `save` wrote. Raises MapError, which names the file, if it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            cells, said = file["cells"], json.loads(str(file["layout"]))
        layout = MapLayout(tuple(said["channels"]), tuple(said["shape"]), said["cell"], tuple(said["corner"]))
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise MapError(f"{path} is no map ({type(error).__name__}: {error}); write it again") from error
    if cells.shape != (*layout.shape, len(layout.channels)):
        raise MapError(f"{path}: its cells have shape {cells.shape}, but its layout says {layout}")
    return StoredMap(cells, layout)


def merge_maps(maps: Sequence[StoredMap]) -> StoredMap:
    """Merge maps in the same frame: counts are added; `seen` and `height` are the larger value.

    Maps may cover different areas; their corners must lie a whole number of cells apart. The result covers all.

    Raises:
        MapError: If there is no map, or channels or cells differ.
    """
    if not maps:
        raise MapError("there is no map to merge")
    first = maps[0].layout
    offsets = []
    for each in maps:
        if each.layout.channels != first.channels or each.layout.cell != first.cell:
            raise MapError(f"maps differ in channels or cells: {first} and {each.layout}")
        apart = np.array([each.layout.corner[k] - first.corner[k] for k in (1, 0)]) / first.cell
        if np.abs(apart - np.round(apart)).max() > 1e-3:
            raise MapError(f"the corners of maps, {first.corner} and {each.layout.corner}, are not whole cells apart")
        offsets.append(np.round(apart).astype(int))
    low = np.min(offsets, axis=0)
    high = np.max([offset + each.layout.shape for offset, each in zip(offsets, maps)], axis=0)
    merged = np.zeros((*(high - low), len(first.channels)), np.float32)
    larger = [k for k, name in enumerate(first.channels) if name in ("seen", "height")]
    for offset, each in zip(offsets, maps):
        (row, column), (rows, columns) = offset - low, each.layout.shape
        part = merged[row : row + rows, column : column + columns]
        highest = np.maximum(part[..., larger], each.cells[..., larger])
        part += each.cells
        part[..., larger] = highest
    corner = (first.corner[0] + low[1] * first.cell, first.corner[1] + low[0] * first.cell)
    return StoredMap(merged, MapLayout(first.channels, merged.shape[:2], first.cell, corner))
