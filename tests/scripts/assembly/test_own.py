"""User-defined methods: each is one file in the current folder, named on the command line."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest

import embodia
from embodia.scripts.assembly import runs
from embodia.scripts.main import main
from embodia.scripts.report import video

OWN = Path(__file__).parent / "own"
WORLD = ["--env.id", "toy_world:Toy-v0"]
AGENT, ENCODER = ["--agent", "toy_agent:Habit"], ["--encoder.image", "toy_encoder:Flat"]
PLANNING = ["--agent.model", "toy_model:Steps", "--agent.planner", "toy_planner:Shooting"]
SHORT = ["--evaluation.episodes", "4", "--evaluation.during", "2", "--evaluation.films", "0", "--device", "cpu"]


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """The current folder, with the user's modules in it."""
    shutil.copytree(OWN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    forget()


def forget():
    """Forget imported modules, as in a new process."""
    gym.registry.pop("Toy-v0", None)
    for path in OWN.glob("*.py"):
        sys.modules.pop(path.stem, None)


def score(folder):
    return json.loads((folder / "report.json").read_text())["scores"]["agent"]["success"]["value"]


TOYS = {
    "agent": (["ppo-empty", "--encoder.keys", "place"], AGENT, ["--agent.rate", "0.1", "--steps", "600"]),
    "encoder": (
        ["bc-doorkey", "--encoder.keys", "rgb"],
        ENCODER,
        ["--encoder.image.dim", "16", "--agent.learning-starts", "64", "--agent.train-freq", "16", "--steps", "400"],
    ),
    "model and planner": (
        ["mpc-rssm-empty", "--encoder.keys", "place"],
        PLANNING,
        [
            *("--agent.planner.horizon", "2", "--agent.learning-rate", "0.05", "--agent.sequence-length", "4"),
            *("--agent.learning-starts", "100", "--agent.train-ratio", "32", "--steps", "600"),
        ],
    ),
}


@pytest.mark.parametrize(("preset", "named", "more"), TOYS.values(), ids=TOYS)
def test_a_toy_of_one_file_trains_evaluates_records_and_resumes(preset, named, more, beside, capsys):
    run = beside / "run"
    assert main(["train", *preset, *WORLD, *named, *more, *SHORT, "--out", str(run)]) == 0
    assert score(run) == 1.0
    again = [*named, *WORLD]
    assert main(["eval", str(run), *again, "--episodes", "3", "--films", "0", "--out", str(beside / "eval")]) == 0
    assert score(beside / "eval") == 1.0
    assert main(["record", str(run), *again, "--seeds", "1", "--out", str(beside / "films")]) == 0
    assert len(video.read(beside / "films" / "test-seed-1.mp4")) > 3
    assert main(["collect", str(run), *again, "--episodes", "2", "--out", str(beside / "data")]) == 0
    assert main(["train", "--resume", str(run), *again, "--steps", "800", "--no-report"]) == 0
    assert int(runs.weights(run, "last").name) >= 800
    loaded = embodia.load(run, named={part.removeprefix("--"): name for part, name in zip(again[::2], again[1::2])})
    assert embodia.evaluate(loaded, seeds=[0]).scores["success"].value == 1.0
    capsys.readouterr()
    assert main(["eval", str(run)]) == 2, "a run imports nothing by itself"
    assert " ".join(named[:2]) in capsys.readouterr().err


def test_a_run_imports_only_what_is_named(beside, capsys):
    run = beside / "run"
    assert main(["train", "ppo-empty", *WORLD, *AGENT, *SHORT, "--steps", "80", "--no-report", "--out", str(run)]) == 0
    forget()
    capsys.readouterr()
    for flags in ([], AGENT, [*WORLD, "--agent", "toy_agent:Stubborn"], [*WORLD, *AGENT, *ENCODER]):
        assert main(["eval", str(run), *flags]) == 2
        assert "toy_agent" not in sys.modules
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("only if you name them; add --env.id toy_world:Toy-v0 --agent toy_agent:Habit")
    assert said[1].endswith("only if you name them; add --env.id toy_world:Toy-v0")
    assert said[2].endswith("has --agent toy_agent:Habit")
    assert said[3].endswith("has no user-defined encoder.image")


@pytest.mark.parametrize("name", ["spy:embodia/MiniGrid-Empty-5x5-v0", "spy:CartPole-v1", "envs:CartPole-v1"])
def test_a_run_whose_id_names_a_module_before_a_known_id_imports_it_only_if_named(name, beside, capsys):
    """Gymnasium imports the module of `module:id` even if the id is registered already."""
    for module in ("spy", "envs"):
        (beside / f"{module}.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    sys.path.append(str(beside))
    run = beside / "run"
    assert main(["train", "ppo-empty", *SHORT, "--steps", "16", "--no-report", "--out", str(run)]) == 0
    config = json.loads((run / "config.json").read_text())
    config["config"]["env"] |= {"id": name, "options": None}
    (run / "config.json").write_text(json.dumps(config))
    main(["eval", str(run), "--episodes", "1", "--films", "0"])
    assert "--env.id spy:" in capsys.readouterr().err or name.startswith("envs:")
    assert not (beside / "imported").exists()


@pytest.mark.parametrize("where", ["agent", "encoder"])
def test_no_run_may_hold_a_file_of_pickles(where, beside, capsys):
    run = beside / "run"
    assert main(["train", "ppo-empty", *SHORT, "--steps", "16", "--no-report", "--out", str(run)]) == 0
    config = json.loads((run / "config.json").read_text())
    config["config"][where] = {"kind": "SB3FileConfig", "path": "evil.zip", "algo": "ppo"}
    (run / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["eval", str(run), "--episodes", "1"]) == 2
    assert f"config.{where}: a .zip of Stable-Baselines3 runs code" in capsys.readouterr().err


def test_options_of_a_world_and_of_a_class_without_a_configuration_are_flags(beside, capsys):
    with pytest.raises(SystemExit):
        main(["train", "ppo-empty", *WORLD, "--agent", "toy_agent:Stubborn", "--help"])
    said = capsys.readouterr().out
    assert "--env.options.length INT" in said
    assert "--agent.favourite INT" in said
    assert "--agent.names" in said
    assert "--agent.hidden" not in said, "nothing says what it would be"
    run, flags = beside / "run", ["--env.options.length", "3", "--agent.favourite", "0", "--seed", "5"]
    stubborn = ["--agent", "toy_agent:Stubborn"]
    assert main(["train", "ppo-empty", *WORLD, *stubborn, *flags, *SHORT, "--steps", "80", "--out", str(run)]) == 0
    config = runs.config(run, {"agent": "toy_agent:Stubborn", "env.id": "toy_world:Toy-v0"})
    assert (config.agent.favourite, config.agent.seed, config.env.options.length) == (0, 5, 3)
    assert score(run) == 0.0, "it goes left for ever"


def test_an_agent_that_learns_nothing_is_judged_without_training(beside):
    (beside / "rule.py").write_text(
        "import numpy as np\n"
        "from embodia.agents.references.untrained import Untrained\n"
        "class Right(Untrained):\n"
        "    def __init__(self, observation_space, action_space):\n"
        "        self.observation_space, self.action_space = observation_space, action_space\n"
        "    def act(self, obs, carry, first, mode):\n"
        "        return np.ones(len(first), int), carry, {}\n"
    )
    out = beside / "eval"
    judged = ["eval", "rule:Right", "--env", "toy_world:Toy-v0", "--episodes", "3", "--films", "0", "--out", str(out)]
    assert main(judged) == 0
    assert score(out) == 1.0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--agent", "nowhere:Habit"], "--agent nowhere:Habit: there is no module nowhere"),
        (["--agent", "toy_agent:Habbit"], "toy_agent.py has no class Habbit. Did you mean Habit,"),
        (["--agent", "toy_agent:Unfinished"], "Unfinished lacks update, save, load"),
        (["--agent", "toy_agent:Spaceless"], "toy_agent:Spaceless: its constructor does not set observation_space"),
        (
            ["--agent", "toy_agent:Greedy"],
            "toy_agent:Greedy: its constructor has the argument horizon; available are",
        ),
        (["--agent", "toy_agent:Half"], "every field of its configuration needs a default: "),
        (["--agent", "broken:Agent"], "broken.py, line 1: RuntimeError: the licence has run out"),
        (["--agent", "ppoo"], "unknown agent ppoo. Did you mean ppo, sb3-ppo?"),
        (["--agent"], "--agent needs a name"),
        (["--agent", "bc", "--agent.gamma", "1"], "--agent.gamma is not an option of bc, which has seed"),
        (["--encoder.image", "toy_encoder:Blind"], "Blind lacks forward"),
        (["--agent", "mpc", "--agent.planner", "toy_planner:Aimless"], "Aimless lacks plan"),
        (["--agent", "mpc", "--agent.model", "toy_planner:Shooting"], "lacks initial, observe, imagine, predict, loss"),
    ],
)
def test_a_class_that_will_not_do_is_one_line(flags, says, beside, capsys):
    assert main(["train", "ppo-empty", *WORLD, "--encoder.keys", "place", *flags]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert not (beside / "runs").exists() or not any((beside / "runs").glob("*/checkpoints"))


LEARNER, NETWORK = ["toy_learner:Brightness"], ["--encoder", "toy_network:Wide"]
FEW = ["--data.size", "32", "--training.batch-size", "8", "--training.log-every", "5", "--device", "cpu"]


@pytest.fixture
def pictures(beside):
    """Twelve images, each of one shade of grey."""
    folder = beside / "pictures"
    folder.mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((32, 32, 3), 20 * i, np.uint8))
    return folder


def test_a_learner_of_one_file_pretrains_resumes_and_is_read_by_an_agent(pictures, beside, capsys):
    run, agent = beside / "run", beside / "agent"
    data, more = ["--data", str(pictures)], ["--method.hidden", "4", "--encoder.dim", "8", "--steps", "30"]
    assert main(["pretrain", *LEARNER, *NETWORK, *data, *more, *FEW, "--out", str(run)]) == 0
    lines = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1] < lines[0]
    assert main(["pretrain", "--resume", str(run), "--steps", "40"]) == 2
    assert "--method toy_learner:Brightness --encoder toy_network:Wide" in capsys.readouterr().err
    again = ["--method", *LEARNER, *NETWORK]
    assert main(["pretrain", "--resume", str(run), "--steps", "40", *again]) == 0
    reading = ["train", "bc-doorkey", *WORLD, "--encoder.keys", "rgb", "--encoder.pretrained", str(run), *SHORT]
    assert main([*reading, "--steps", "40", "--no-report", "--out", str(agent)]) == 2
    assert "--encoder.image toy_network:Wide" in capsys.readouterr().err
    assert not agent.exists()
    named = ["--encoder.image", "toy_network:Wide"]
    assert main([*reading, *named, "--steps", "40", "--no-report", "--out", str(agent)]) == 0
    flags = [*named, *WORLD, "--episodes", "2", "--films", "0"]
    assert main(["eval", str(agent), *flags, "--out", str(beside / "eval")]) == 0
    classes = beside / "classes"
    for name in ("dark", "light"):
        shutil.copytree(pictures, classes / name)
    assert main(["probe", str(run), "--data", str(classes)]) == 2
    assert main(["probe", str(run), "--data", str(classes), *NETWORK]) == 0


def test_a_learner_without_a_loss_is_one_line(pictures, capsys):
    assert main(["pretrain", "toy_encoder:Flat", "--data", str(pictures)]) == 2
    assert "Flat lacks loss (required of every learner" in capsys.readouterr().err
    assert main(["pretrain", *LEARNER, "--encoder", "toy_encoder:Flat", "--data", str(pictures)]) == 2
    assert "Flat lacks encode (required of every image encoder" in capsys.readouterr().err


def test_a_driving_planner_with_weights_learns_from_drives_and_is_judged_in_closed_loop(beside, capsys):
    """Trained on the logged drivers' drives, it is about as fast as they are; untrained, it stands still."""
    run, out = beside / "run", beside / "eval"
    roads = ["--env.options.num-scenarios", "4", "--env.options.num-test-scenarios", "2"]
    planner = ["--agent.planner", "toy_driver:Rushing"]
    learning = ["--agent.drives", "4", "--agent.learning-rate", "0.1", "--agent.warmup", "1", "--steps", "40"]
    flags = ["train", "bc-driving", "--agent", "driver", *planner, *roads, *learning, *SHORT]
    assert main([*flags, "--evaluation.episodes", "2", "--out", str(run)]) == 0
    progress = "ego_progress_along_expert_route"
    assert f"eval/{progress}" in (run / "metrics.jsonl").read_text(), "judged in closed loop while it trains"
    assert len(list((run / "drives").glob("episode-*.npz"))) == 4
    scores = json.loads((run / "report.json").read_text())["scores"]
    assert main(["eval", str(run), "--episodes", "2", "--films", "0"]) == 2
    assert "--agent.planner toy_driver:Rushing" in capsys.readouterr().err
    assert main(["eval", str(run), *planner, "--episodes", "2", "--films", "0", "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text())["scores"]["agent"] == scores["agent"]
    assert main(["train", "--resume", str(run), *planner, "--steps", "60", "--no-report"]) == 0
    still = ["eval", "toy_driver:Rushing", "--episodes", "2", "--films", "0", "--out", str(beside / "still")]
    assert main(still) == 0, "as a planner without training"
    before = json.loads((beside / "still" / "report.json").read_text())["scores"]["agent"][progress]["value"]
    assert scores["agent"][progress]["value"] > before + 0.3


def test_a_planner_without_weights_has_nothing_to_learn(beside, capsys):
    few = ["--env.options.num-scenarios", "2", "--env.options.num-test-scenarios", "2"]
    assert main(["train", "bc-driving", "--agent", "driver", "--agent.planner", "idm", *few]) == 2
    assert "IdmPlanner has no weights to train" in capsys.readouterr().err
    assert main(["train", "bc-doorkey", "--agent", "driver", "--agent.planner", "toy_driver:Rushing"]) == 2
    assert "Rushing needs a driving environment, not embodia/MiniGrid-DoorKey-8x8-v0" in capsys.readouterr().err
