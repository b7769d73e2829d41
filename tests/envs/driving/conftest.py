"""Fixtures of the roads."""

import pytest

from embodia.tests.envs.driving.road import synthetic_road


@pytest.fixture(scope="session")
def road_map():
    return synthetic_road()
