"""Fixtures of the planners' tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `lane_road` is shared by the test modules of this folder

from lane_road import lane_road


@pytest.fixture
def road():
    return lane_road()
