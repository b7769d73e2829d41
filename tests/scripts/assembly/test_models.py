"""World models from the command line: train, imagine, benchmark; and user errors."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from embodia.scripts.bench.planning import planning as bench_planning
from embodia.scripts.bench.planning import swing_up, update_rate
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
        (["mpc-rssm-empty", "--agent.planner", "mppi"], "take CEM or MCTS"),
        (["mpc-pendulum", "--agent.objective", "return"], "Return scores the predicted reward"),
        (["td-mpc2-pendulum", "--env.id", "MiniGrid-Empty-5x5-v0"], "take dreamer"),
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
    monkeypatch.setattr(swing_up.Task, "starts", lambda self, count: torch.cat([poised, tipped]))
    assert swing_up.upright(swing_up.TASKS[task], Still()).tolist() == [True, False]


def test_planning_time_is_measured_and_its_growth_fitted(monkeypatch, capsys):
    monkeypatch.setattr(bench_planning, "SAMPLES", (16, 32, 64))
    monkeypatch.setattr(bench_planning, "HORIZONS", (2, 4, 6))
    monkeypatch.setattr(update_rate, "UPDATES", 1)
    monkeypatch.setattr(bench_planning.swing_up, "measure", partial(swing_up.measure, starts=2, steps=1))
    made = bench_planning.measure(1)
    assert {row["model"] for row in made["updates"]} == {"TD-MPC2", "RSSM", "DINO-WM, 16 patches"}
    assert all(row["updates_per_second"] > 0 for row in made["updates"])
    assert [row["success"] for row in made["swing_up"]] == [0.0] * 8, "one step is too few"
    assert {row["planner"] for row in made["rows"]} == {"cem", "icem", "mppi", "gradient", "ilqr"}
    assert all(row["cpu_seconds"] > 0 for row in made["rows"])
    times = [{"model": "m", "planner": "cem", "samples": s, "horizon": h, "cpu_seconds": s * h**2}
             for s, h in [(16, 4), (64, 4), (32, 2), (32, 6)]]  # fmt: skip
    assert bench_planning.growth(times) == [{"model": "m", "samples": pytest.approx(1), "horizon": pytest.approx(2)}]


def test_the_wall_is_measured_once_and_kept(tmp_path, capsys, monkeypatch):
    tiny = bench_wall.Budget(12, encoder_updates=2, model_updates=2, episodes=2, samples=4, elites=2, iterations=1)
    made = bench_wall.measure(1, tmp_path, tiny)
    assert [(row["encoder"], row["planner"]) for row in made["rows"]] == [case[:2] for case in bench_wall.CASES]
    assert made["rows"][0]["paper"] == 0.96
    red, green = np.asarray(Image.open(tmp_path / "imagined.png"), int)[..., :2].transpose(2, 0, 1)
    assert all((part > 100).any() for part in np.array_split(red - green, 10))  # dots: five episodes
    monkeypatch.setattr(bench_wall, "teach", None)
    monkeypatch.setattr(bench_wall, "learn", None)
    assert bench_wall.measure(1, tmp_path, tiny)["rows"] == made["rows"]
    with pytest.raises(FileExistsError, match="another budget"):
        bench_wall.measure(1, tmp_path, bench_wall.Budget(13))
