"""Pools of levels on disk."""

import numpy as np
import pytest

from embodia.envs import SPLIT_SIZE
from embodia.envs.grid.native import pool
from embodia.envs.grid.native.pool import Maker, Pool, PooledLevels, Recipe

RECIPE = Recipe("MiniGrid-DoorKey-5x5-v0")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIA_CACHE", str(tmp_path))
    return tmp_path


def assert_equal(ours, theirs):
    assert ours.names == theirs.names
    for mine, other in zip(ours.levels, theirs.levels):
        np.testing.assert_array_equal(mine, other)


def never(*_):
    raise AssertionError("the levels are on disk")


def test_a_pool_is_made_once_and_read_again(monkeypatch):
    made = Pool(RECIPE, "train", 20).load()
    assert len(made.names) == 20
    monkeypatch.setattr(Maker, "make", never)
    assert_equal(Pool(RECIPE, "train", 20).load(), made)


def test_worker_processes_make_the_same_levels(monkeypatch):
    monkeypatch.setattr(pool, "CHUNK", 7)
    wanted = Pool(RECIPE, "test", 20)
    made = wanted.load(workers=1)
    wanted.path().unlink()
    assert_equal(wanted.load(), made)


@pytest.mark.parametrize("damage", ["torn", "empty", "one byte", "another pool"])
def test_a_damaged_file_is_reported_and_made_again(damage, capsys):
    wanted = Pool(RECIPE, "train", 20)
    made = wanted.load()
    path = wanted.path()
    content = path.read_bytes()
    if damage == "another pool":
        Pool(RECIPE, "test", 20).load()
        content = Pool(RECIPE, "test", 20).path().read_bytes()
    elif damage == "one byte":
        content = content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]
    path.write_bytes(content[: {"torn": len(content) // 2, "empty": 0}.get(damage, len(content))])
    assert_equal(wanted.load(), made)
    assert "is damaged" in capsys.readouterr().err
    assert_equal(wanted.load(), made)
    assert not capsys.readouterr().err, "the file is whole again"


def test_files_of_other_options_and_versions_have_other_names(monkeypatch):
    variants = [
        Pool(RECIPE, "train", 20),
        Pool(RECIPE, "test", 20),
        Pool(RECIPE, "train", 21),
        Pool(Recipe(RECIPE.task, 9), "train", 20),
    ]
    paths = {each.path() for each in variants}
    monkeypatch.setattr(pool, "version", lambda name: "99")
    assert len(paths | {variants[0].path()}) == 5


def test_a_folder_that_cannot_be_written_costs_only_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMBODIA_CACHE", str(tmp_path / "file"))
    assert len(Pool(RECIPE, "train", 3).load().names) == 3


def test_levels_of_both_splits_are_found_by_their_seeds():
    for split, first in (("train", 0), ("test", SPLIT_SIZE)):
        found = PooledLevels(Pool(RECIPE, split, 20))
        assert found.rows([first, first + 19]).tolist() == [0, 19]
        assert found.distinct == len(set(found.made.names))
        alone = Maker(RECIPE).make([first + 7])
        np.testing.assert_array_equal(found.made.levels.codes[7], alone.levels.codes[0])
        assert found.made.names[7] == alone.names[0]
