"""Result files: rows with intervals, commit and command; shared flags; presets on several seeds."""

import json
from typing import get_args

import pytest

from embodia.scripts.bench.harness import results
from embodia.scripts.bench.harness.options import Options, Presets, Timed
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.harness.stopwatch import Rate, timings
from embodia.scripts.bench.learning import presets
from embodia.scripts.bench.planning import swing_up
from embodia.scripts.commands.bench import BENCHES
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.statistics import wilson

ROWS = [Row("a", 1.0, 0.5, 1.5, 3, 0.9, 2.0, (Row("control", 0.1, 0.0, 0.2, 1),), "success", (1.0, 1.0, 1.0))]


def test_a_row_has_the_interval_over_its_seeds_and_their_episodes():
    found = row("x", [[1, 1, 0, 1], [1, 0, 0, 1]], paper=0.9)
    assert found.value == 5 / 8
    pooled = wilson(5, 8)
    assert found.low < pooled.low < pooled.high < found.high, "it covers the luck of training too"
    assert found.by_seed == (0.75, 0.5)
    assert found.seeds == 2


def test_seeds_that_all_succeed_have_wilsons_interval_and_single_values_that_of_a_mean():
    found = row("x", [[1, 1, 1], [1, 1, 1]])
    assert (found.value, found.low, found.high) == pytest.approx(wilson(6, 6)[:3])
    shares = row("x", [[1.0], [1.0], [1.0]])
    assert (shares.low, shares.high) == (1, 1), "a share of each seed's own samples is not an episode"


def test_timings_are_medians_with_their_range(capsys):
    wall, cpu = timings("x", [Rate(3.0, 30.0), Rate(1.0, 40.0), Rate(2.0, 20.0)], "frames")
    assert (wall.value, wall.low, wall.high, wall.seeds, wall.unit) == (2.0, 1.0, 3.0, 3, "frames/s")
    assert (cpu.value, cpu.unit) == (30.0, "frames per CPU second")
    assert "this process ran 10 % of the time" in capsys.readouterr().err


def test_what_is_written_is_read_again_with_controls(tmp_path, capsys):
    found = results.result(results.provenance("some", "embodia bench some"), ROWS)
    path = results.write(found, tmp_path / "results")
    assert {"bench", "command", "commit", "machine", "date", "rows"} == set(json.loads(path.read_text()))
    assert found["machine"]["cores"] >= 1
    assert results.read(path) == ROWS
    assert capsys.readouterr().err == ""


def test_an_older_result_is_replaced_with_a_line_that_names_it(tmp_path, capsys):
    found = results.result(results.provenance("some", "embodia bench some"), ROWS)
    path = results.write({**found, "commit": "abc1234"}, tmp_path)
    results.write(found, tmp_path)
    assert f"{path} replaces the result of `embodia bench some` at commit abc1234" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}'])
def test_a_broken_result_file_is_named(tmp_path, text):
    path = tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(Mistake, match=r"some\.json .*run its bench again"):
        results.read(path)


def test_results_of_a_checkout_go_to_its_docs_and_others_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path / "embodia")
    (tmp_path / "embodia" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert str(results.folder()) == "results"
    monkeypatch.chdir(tmp_path / "embodia")
    assert results.folder() == tmp_path / "embodia" / "docs" / "results"


@pytest.mark.parametrize("bench", get_args(BENCHES))
def test_every_bench_has_the_shared_flags_and_a_module(bench):
    assert issubclass(bench, Options)
    assert bench.__doc__
    path = results.ROOT.joinpath("scripts", "bench", *bench.module.split(".")).with_suffix(".py")
    assert "\ndef measure(" in path.read_text()
    assert bench().name == path.stem.replace("_", "-")
    assert bench().seeds == 6 or not issubclass(bench, Timed)


def test_the_command_prints_a_table_writes_the_file_and_ends_with_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(swing_up, "measure", lambda options: ROWS * options.seeds)
    assert main(["bench", "swing-up", "--json", "--results", "here"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert any("1.0 [0.5, 1.5] (paper 0.9)" in line for line in table)
    written = json.loads((tmp_path / "here" / "swing-up.json").read_text())
    assert json.loads(last) == written
    assert written["command"] == "embodia bench swing-up --json --results here"


def test_a_smoke_run_writes_no_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "swing-up", "--smoke"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == []
    assert "pendulum swung up" in capsys.readouterr().out


def test_parts_of_a_bench_have_a_result_file_of_their_own():
    assert Presets(only=("ppo-empty", "bc-doorkey")).name == "presets-ppo-empty-bc-doorkey"


def test_presets_are_trained_once_and_go_on(tmp_path, capsys):
    asked = Presets(seeds=2, smoke=True, only=("ppo-empty",), out=tmp_path)
    (found,) = presets.measure(asked)
    assert (found.name, found.unit, found.seeds) == ("ppo-empty", "success", 2)
    assert {control.name for control in found.controls} == {"random", "expert"}
    assert found.controls[1].value == 1.0
    report = tmp_path / "smoke" / "ppo-empty-seed0" / "report.json"
    made = report.stat().st_mtime_ns
    assert presets.measure(asked) == [found]
    assert report.stat().st_mtime_ns == made


def test_an_unknown_preset_is_a_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "presets", "--only", "ppo-emty", "--smoke"]) == 2
    assert "Did you mean ppo-empty" in capsys.readouterr().err
