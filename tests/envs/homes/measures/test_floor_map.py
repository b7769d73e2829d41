"""The top-down map as an observation: shares of floor, cells of places."""

import numpy as np
import pytest

from embodia.envs.homes.measures.floor_map import CELL, MAP_SIDE, MapFrame, floor_map


class Floor:
    """A floor of 3 m (x) by 1.5 m (z) in the corner of a home."""

    def __init__(self, size):
        self.bounds = np.array([[-1.0, 0.0, 2.0], [-1.0 + size, 3.0, 2.0 + size / 2]])

    def free_cells(self, bounds, shape, height):
        low, high = bounds
        z = low[2] + np.arange(shape[0]) * (high[2] - low[2]) / shape[0]
        x = low[0] + np.arange(shape[1]) * (high[0] - low[0]) / shape[1]
        assert height == 0.2
        return (z[:, None] < 2.0 + 1.5 - 1e-6) & (x < -1.0 + 3.0 - 1e-6)


@pytest.mark.parametrize("size", [6.0, 38.4])
def test_the_map_shows_the_floor_in_cells_of_the_frames_size(size):
    floor = Floor(size)
    frame, found = MapFrame.of(floor.bounds), floor_map(floor, 0.2)
    assert found.shape == (MAP_SIDE, MAP_SIDE, 1)
    assert frame.size == pytest.approx(max(CELL, size / MAP_SIDE))
    assert found.sum() * frame.size**2 == pytest.approx(3.0 * 1.5, rel=0.1)
    row, column = np.floor(frame.cell_of([1.9, 0.2, 2.1])).astype(int)
    assert found[row, column, 0] > 0
    assert found[row, column + 1, 0] == 0


def test_a_place_is_a_row_along_z_and_a_column_along_x():
    frame = MapFrame.of([[-1.0, 0.0, 2.0], [5.0, 3.0, 4.0]])
    np.testing.assert_allclose(frame.cell_of([-1.0 + 3 * CELL, 9.0, 2.0 + 5.5 * CELL]), [5.5, 3.0])
