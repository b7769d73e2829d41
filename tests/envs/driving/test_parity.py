"""The devkit's own drives of two logs, through the closed loop and through what `embodia eval` drives."""

import json
from dataclasses import astuple

import numpy as np
import pytest

from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.scripts.main import main
from embodia.tests.envs.driving.parity import JOBS, compared, driven, evaluated, unpack


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("nuplan"))


@pytest.mark.parametrize("job", JOBS)
def test_drives_are_the_devkits_below_a_micrometre(root, job):
    history = driven(root, job)
    assert max(astuple(compared(history, score_history(history).metrics, job))) < 1e-6


@pytest.mark.parametrize("job", ["gen5/pdm_NR", "synthj/log_R"])
def test_what_eval_drives_is_the_closed_loop_itself(root, job):
    history, scores = evaluated(root, job)
    assert max(astuple(compared(history, scores, job))) < 1e-6
    np.testing.assert_array_equal(history.ego, driven(root, job).ego)


@pytest.fixture
def logs(root, tmp_path, monkeypatch):
    """Flags of logs in a folder whose name would end or change in an SQLite URI."""
    there = tmp_path / "nu#plan %20?"
    (root / "synthj").rename(there)
    monkeypatch.chdir(tmp_path)
    yield ["--logs", str(there), "--filter", "following_lane_with_lead"]
    there.rename(root / "synthj")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("nu")], "an empty file beside it"


def test_logs_are_examined_evaluated_and_recorded(logs, tmp_path, capsys):
    assert main(["doctor", *logs[:2]]) == 0
    assert "1 scenarios in 1 logs" in capsys.readouterr().out
    assert main(["eval", "idm", *logs, "--films", "0", "--out", "judged"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "judged" / "episodes.jsonl").read_text().splitlines()]
    assert [line["policy"] for line in lines] == ["agent", "random", "expert"]
    assert "3ba170d8f6c43602" in lines[0]["level"]
    assert main(["record", "log-future", *logs, "--seeds", "0", "--out", "films"]) == 0
    assert len(list((tmp_path / "films").glob("*.mp4"))) == 1


@pytest.mark.slow
def test_logs_are_collected_learned_from_and_measured(logs, tmp_path):
    assert main(["collect", "idm", *logs, "--out", "rows"]) == 0
    assert len(list((tmp_path / "rows").rglob("*.npz"))) == 1
    few = ["--schedule.steps", "40", "--env.num-envs", "2", "--agent.learning-starts", "20", "--evaluation.films", "0"]
    assert main(["train", "bc-driving", *logs, *few, "--evaluation.during", "1", "--out", "run"]) == 0
    assert json.loads((tmp_path / "run" / "report.json").read_text())["split"] == "test"
    assert main(["bench", "planners", *logs]) == 0
    lines = (tmp_path / "runs" / "planners.jsonl").read_text().splitlines()
    assert {json.loads(line)["driver"] for line in lines} >= {"PDM-Closed, replay", "log future, reactive"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--logs", "nowhere"], "no nuPlan logs at nowhere"),
        (["--scenarios", "nowhere.pack"], "no scenario pack at nowhere.pack"),
        (["--filter", "changing_lane"], "--filter: they choose among nuPlan's logs; add --logs PATH"),
        (["--logs", "{}", "--filter", "chaning_lane"], "scenario type chaning_lane is neither"),
        (["--logs", "{}", "--filter", "changing_lane"], "no scenario in 1 logs passes the filter; the most frequent"),
        (["--logs", "{}", "--maps", "nowhere"], "no nuPlan maps at nowhere; set NUPLAN_MAPS_ROOT"),
        (["--logs", "{}", "--scenarios", "x.pack"], "give either --logs or --scenarios"),
        (["--env", "MiniGrid-Empty-5x5-v0", "--logs", "{}"], "needs a driving environment"),
    ],
)
def test_what_cannot_be_driven_is_said_before_anything_runs(root, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [each.format(root / "gen5") for each in arguments]
    assert main(["eval", "idm", *given, "--out", "judged"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "judged").exists()
