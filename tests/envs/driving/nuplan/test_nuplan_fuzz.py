"""Damaged nuPlan logs and maps: each is read, or refused with one error that names the file."""

import sqlite3
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from embodia.envs.driving.nuplan.files import NuPlanDataError
from embodia.envs.driving.nuplan.logs import NuPlanLog, find_scenarios
from embodia.envs.driving.nuplan.maps import read_map

ODD = ("NULL", "-1", "1e308", "9223372036854775807", "''", "'x'", "x'00ff'", "x'4750000100000000'", "'1,a,,2'")
DATA = Path(__file__).parent.parent / "data" / "nuplan_logs.tar.xz"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A log, and its map."""
    root = tmp_path_factory.mktemp("nuplan")
    with tarfile.open(DATA) as archive:
        archive.extractall(root, filter="data")
    return next((root / "gen5").rglob("*.db")), next((root / "synthj").rglob("map.gpkg"))


@pytest.fixture(scope="module")
def road_of_log(files):
    return read_map(next(files[0].parents[3].rglob("map.gpkg")), "us-nv-las-vegas-strip")


def damaged(rng, path, out):
    """A copy of an SQLite file with one thing wrong: bytes, a table, a column, or values."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 20)):
            content[rng.integers(len(content))] = rng.integers(256)
        out.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.2 else content)
        return
    out.write_bytes(content)
    connection = sqlite3.connect(out)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    table = tables[rng.integers(len(tables))]
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    column, value = columns[rng.integers(len(columns))], ODD[rng.integers(len(ODD))]
    how = rng.integers(10)
    where = "" if how < 4 else f" WHERE rowid IN (SELECT rowid FROM {table} ORDER BY rowid LIMIT 40)"
    changes = {8: f"DELETE FROM {table}", 9: f"DROP TABLE {table}"}
    try:
        connection.executescript(changes.get(int(how), f"UPDATE {table} SET {column} = {value}{where}"))
    except sqlite3.Error:
        connection.executescript(f"DELETE FROM {table}")  # the value was against a constraint
    connection.close()


def check(read, rng, path, out, count):
    said = []
    for _ in range(count):
        damaged(rng, path, out)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(out)
        except NuPlanDataError as error:
            said.append(str(error))
    assert len(said) > count / 5
    assert all(out.name in line and len(line) < 500 for line in said)


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_every_damaged_log_is_read_or_refused_by_name(files, road_of_log, tmp_path, count):
    def read(path):
        for tag in find_scenarios([path]):
            log = NuPlanLog(path)
            log.scenario(tag, road_of_log)
            log.close()

    check(read, np.random.default_rng(0), files[0], tmp_path / "damaged.db", count)


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_every_damaged_map_is_read_or_refused_by_name(files, tmp_path, count):
    check(read_map, np.random.default_rng(1), files[1], tmp_path / "map.gpkg", count)
