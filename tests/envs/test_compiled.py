"""Kernels are compiled and cached; where no cache can be written, they are compiled in memory."""

import numba.core.caching
import pytest

from embodia.envs.compiled import cache_folder, cached, compiled, compiled_exactly


def double(x):
    return 2 * x


@pytest.fixture
def read_only(monkeypatch):
    """Neither the package's folder nor the user's cache can be written: numba finds no place for its cache."""
    monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])


@pytest.mark.parametrize("how", [cached, compiled, compiled_exactly])
def test_kernels_run_without_a_place_for_their_cache(read_only, how):
    assert how(double)(4) == 8


def test_the_cache_is_named(tmp_path):
    assert cache_folder() is not None


def test_no_cache_is_none(read_only):
    assert cache_folder() is None
