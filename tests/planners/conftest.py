"""Fixtures of the planners' tests."""

import pytest

from embodia.tests.planners.driving.lane_road import lane_road


@pytest.fixture
def road():
    return lane_road()
