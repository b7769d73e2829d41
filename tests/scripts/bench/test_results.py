"""Result files: rows with intervals, the commit and the command; and presets on several seeds."""

import json

import pytest

from embodia.scripts.bench.harness import results
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.learning import presets
from embodia.scripts.main import main
from embodia.scripts.report.statistics import wilson


def test_a_row_pools_the_episodes_of_its_seeds():
    found = row("x", [[1, 1, 0, 1], [1, 0, 0, 1]], paper=0.9)
    assert (found.value, found.low, found.high) == pytest.approx(wilson(5, 8)[:3])
    assert found.by_seed == (0.75, 0.5)
    assert found.seeds == 2


def test_what_is_written_is_read_again_with_controls(tmp_path):
    rows = [Row("a", 1.0, 0.5, 1.5, 3, 0.9, 2.0, (Row("control", 0.1, 0.0, 0.2, 1),), "success", (1.0, 1.0, 1.0))]
    path = results.write("some", "embodia bench some", rows, tmp_path / "results")
    said = json.loads(path.read_text())
    assert {"bench", "command", "commit", "machine", "date", "rows"} == set(said)
    assert said["machine"]["cores"] >= 1
    assert results.read(path) == rows


def test_presets_are_trained_once_and_go_on(tmp_path, capsys):
    measured = presets.measure(2, smoke=True, only=("ppo-empty",), out=tmp_path)
    (found,) = presets.rows(measured)
    assert (found.name, found.unit, found.seeds) == ("ppo-empty", "success", 2)
    assert {control.name for control in found.controls} == {"random", "expert"}
    assert found.controls[1].value == 1.0
    report = tmp_path / "smoke" / "ppo-empty-seed0" / "report.json"
    made = report.stat().st_mtime_ns
    assert presets.rows(presets.measure(2, smoke=True, only=("ppo-empty",), out=tmp_path)) == [found]
    assert report.stat().st_mtime_ns == made


def test_an_unknown_preset_is_a_mistake(capsys):
    assert main(["bench", "presets", "--only", "ppo-emty", "--smoke"]) == 2
    assert "Did you mean ppo-empty" in capsys.readouterr().err
