"""Fixtures of the roads."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `road` is shared by the test modules of this folder

from road import synthetic_road


@pytest.fixture(scope="session")
def road_map():
    return synthetic_road()
