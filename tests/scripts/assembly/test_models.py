"""World models from the command line: train, imagine, benchmark; and user errors."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from embodia.scripts.bench.harness.options import Planning, SwingUp, Wall
from embodia.scripts.bench.planning import planning as bench_planning
from embodia.scripts.bench.planning import swing_up
from embodia.scripts.bench.world_models import wall as bench_wall
from embodia.scripts.commands import imagine
from embodia.scripts.main import main

SHORT = ["--evaluation.episodes", "2", "--evaluation.during", "2", "--evaluation.films", "0"]
PLANNER = ["--agent.planner", "icem", "--agent.search.samples", "16", "--agent.search.elites", "4"]


def train(*arguments, folder):
    return main(["train", *arguments, *SHORT, "--out", str(folder)])


def test_model_planner_and_objective_are_flags(tmp_path, capsys):
    """Gymnasium's pendulum, whose observation is not a dict, with another planner than the preset's."""
    few = ["--agent.search.horizon", "12", "--agent.search.iterations", "2", "--steps", "20"]
    assert train("mpc-pendulum", *PLANNER, *few, folder=tmp_path / "run") == 0
    made = json.loads((tmp_path / "run" / "report.json").read_text())
    assert made["scores"]["agent"]["return"]["value"] > made["scores"]["random"]["return"]["value"]
    assert main(["imagine", str(tmp_path / "run")]) == 2
    assert "Pendulum, which cannot decode" in capsys.readouterr().err


def test_dreamer_trains_and_shows_what_it_imagines(tmp_path, capsys):
    small = ["--agent.model.deter", "32", "--agent.model.units", "32", "--agent.learning-starts", "100"]
    run = tmp_path / "run"
    assert train("dreamer-empty", "--steps", "300", "--agent.train-ratio", "16", *small, folder=run) == 0
    again = ["imagine", str(run), "--context", "3", "--horizon", "6", "--episodes", "3"]
    assert main(again) == 0
    said = capsys.readouterr().out
    assert "symbolic: share of codes wrong" in said
    assert np.asarray(Image.open(run / "imagination.png")).std() > 10
    assert main(again) == 2, "a picture is not overwritten"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["mpc-pendulum", "--agent.planner", "ilqr", "--agent.search.samples", "8"],
            "planner.samples is not an option of ilqr",
        ),
        (["mpc-rssm-empty", "--agent.model", "pendulum"], "Pendulum reads the observation state"),
        (["mpc-rssm-empty", "--agent.planner", "mppi"], "use CEM or MCTS"),
        (["mpc-pendulum", "--agent.objective", "return"], "Return scores the predicted reward"),
        (["td-mpc2-pendulum", "--env.id", "MiniGrid-Empty-5x5-v0"], "use dreamer"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, says, tmp_path, capsys):
    assert train(*arguments, folder=tmp_path / "run") == 2
    assert says in capsys.readouterr().err


class Counter:
    """A model whose state is the last observation plus the actions since then."""

    weight = torch.nn.Parameter(torch.zeros(1))

    def parameters(self):
        return iter([self.weight])

    def initial(self, n):
        return {"x": torch.zeros(n)}

    def observe(self, state, obs, action, first):
        return {"x": obs["x"][:, 0].float()}

    def imagine(self, state, action):
        return {"x": state["x"] + action[:, 0]}

    def decode(self, state):
        return {"x": state["x"][:, None]}


def test_imagination_is_told_the_action_that_led_to_each_row():
    action = torch.arange(12.0).view(6, 2, 1)
    x = torch.cat([torch.zeros(1, 2, 1), action.cumsum(0)[:-1]])
    rows = {"obs": {"x": x.numpy()}, "action": action.numpy(), "first": np.zeros((6, 2), bool)}
    truth, imagined = imagine.open_loop(Counter(), lambda a: a, rows, context=2)
    np.testing.assert_allclose(imagined["x"], truth["x"])
    _, wrong = imagine.open_loop(Counter(), lambda a: a + 1, rows, context=2)
    np.testing.assert_allclose(wrong["x"][2:, 0, 0] - truth["x"][2:, 0, 0], [1, 2, 3, 4])
    vector = spaces.Box(-100, 100, (1,), np.float32)
    np.testing.assert_allclose(imagine.distance(truth["x"], wrong["x"], vector), [0, 0, 1, 2, 3, 4])


class Still:
    """A planner whose actions are all zero."""

    def plan(self, model, state, objective, carry):
        return torch.zeros(len(state["x"]), 1, 1), {}


@pytest.mark.parametrize("task", swing_up.TASKS)
def test_a_pole_is_upright_only_where_it_stays_so(task, monkeypatch):
    assert not swing_up.upright(swing_up.TASKS[task], Still(), starts=5).any(), "it hangs"
    poised = torch.zeros(1, swing_up.TASKS[task].model.state_dim, dtype=torch.float64)
    tipped = poised + 1e-3  # falls long before the last fifth
    monkeypatch.setattr(swing_up.Task, "starts", lambda self, count, seed: torch.cat([poised, tipped]))
    assert swing_up.upright(swing_up.TASKS[task], Still(), starts=2).tolist() == [True, False]


def test_planning_time_is_measured_and_its_growth_fitted(monkeypatch, capsys):
    monkeypatch.setattr(bench_planning, "SAMPLES", (16, 32, 64))
    monkeypatch.setattr(bench_planning, "HORIZONS", (2, 4, 6))
    rows = bench_planning.measure(Planning(seeds=1, smoke=True))
    learned = {"TD-MPC2", "RSSM", "DINO-WM, 16 patches"}
    assert {row.name for row in rows if row.unit == "updates/s, cpu"} == learned
    times = [row for row in rows if row.unit.startswith("CPU ms")]
    assert {row.name.rpartition(": ")[2] for row in times} == {
        *learned, "pendulum's equations", "CEM", "iCEM", "MPPI", "gradient", "iLQR"
    }  # fmt: skip
    assert all(row.value > 0 for row in rows if not row.unit.startswith("exponent"))
    exponents = bench_planning.growth("m", {(s, h): s * h**2 for s, h in [(16, 4), (64, 4), (32, 2), (32, 6)]})
    assert [row.value for row in exponents] == pytest.approx([1, 2])


def test_swing_ups_are_scored_by_planner_and_task(capsys):
    rows = swing_up.measure(SwingUp(seeds=2, smoke=True))
    assert [(row.value, row.seeds, row.by_seed) for row in rows] == [(0.0, 2, (0.0, 0.0))] * 8, "one step is too few"
    assert {row.unit for row in rows} == {f"{task} swung up" for task in swing_up.TASKS}


def test_the_wall_is_measured_once_and_kept(tmp_path, capsys, monkeypatch):
    asked = Wall(seeds=1, smoke=True, out=tmp_path)
    (made,) = bench_wall.measure(asked)
    assert [made.name, *(row.name for row in made.controls)] == [*map(str, bench_wall.CASES), "random moves"]
    assert (made.paper, made.controls[0].paper, made.seeds) == (0.96, 0.74, 1)
    assert made.cpu_minutes > 0
    red, green = np.asarray(Image.open(tmp_path / "smoke" / "imagined.png"), int)[..., :2].transpose(2, 0, 1)
    assert all((part > 100).any() for part in np.array_split(red - green, 10))  # dots: five episodes
    monkeypatch.setattr(bench_wall, "teach", None)
    monkeypatch.setattr(bench_wall, "learn", None)
    assert bench_wall.measure(asked) == [made]
    with pytest.raises(FileExistsError, match="another budget"):
        bench_wall.Work(tmp_path / "smoke" / "seed0", 0, bench_wall.Budget(13))
