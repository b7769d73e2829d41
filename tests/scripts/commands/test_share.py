"""`embodia share`, runs on the hub, trackers and `export-policy`, on one small run."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import embodia
from embodia.agents.training.logger import Logger
from embodia.scripts import hub
from embodia.scripts.assembly import runs
from embodia.scripts.commands import export_policy, share, train
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import trackers

TINY = "--steps 300 --evaluation.episodes 4 --evaluation.during 2 --evaluation.films 1 --env.num-envs 2 "
TINY += "--agent.n-steps 64 --agent.batch-size 64"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share") / "runs" / "ppo-empty-seed0"
    assert train.main(["ppo-empty", *TINY.split(), "--out", str(folder)]) == 0
    return folder


def parameters(agent):
    return torch.cat([each.flatten() for each in agent.policy.parameters()])


def test_a_shared_run_loads_and_acts_as_the_run_and_cannot_be_trained(run, tmp_path):
    out = tmp_path / "shared"
    assert share.main([str(run), "--out", str(out)]) == 0
    assert torch.equal(parameters(embodia.load(out)), parameters(embodia.load(run)))
    assert not list(out.rglob("*.pt"))
    assert [path.name for path in out.glob("videos/*.mp4")] == [path.name for path in run.glob("videos/*.mp4")]


def test_the_card_says_task_number_of_episodes_intervals_seeds_and_hardware(run, tmp_path):
    share.main([str(run), "--out", str(tmp_path / "shared")])
    text, report = (tmp_path / "shared" / "README.md").read_text(), json.loads((run / "report.json").read_text())
    _, front, body = text.split("---\n", 2)
    index = json.loads(front.split("model-index: ")[1])
    success = report["scores"]["agent"]["success"]
    assert index[0]["results"][0]["metrics"][0]["value"] == pytest.approx(success["value"], abs=1e-4)
    assert "4 episodes, one a seed (0 to 3)" in body
    assert f"| success | {success['value']:.2f} [{success['low']:.2f}, {success['high']:.2f}]" in body
    for needed in ("MiniGrid-Empty-8x8", "random", "expert", "CPU minutes of training", "hardware", "torch", "commit"):
        assert needed in body


class Hub:
    """The two calls of huggingface_hub that are used, on folders of this machine."""

    def __init__(self, root):
        self.root, self.reachable = root, True

    def create_repo(self, repo, repo_type, private, exist_ok):
        self.answer()
        return f"https://hub.example/{repo}"

    def upload_folder(self, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id)

    def snapshot_download(self, repo, local_dir, allow_patterns):
        self.answer()
        shutil.copytree(self.root / repo, local_dir, dirs_exist_ok=True)

    def answer(self):
        if not self.reachable:
            raise ConnectionError("no route to host\nand more")


@pytest.fixture
def reached(monkeypatch, tmp_path):
    client = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "hub", lambda: client)
    monkeypatch.chdir(tmp_path)
    return client


def test_a_run_goes_to_the_hub_and_comes_back(run, reached, capsys):
    assert share.main([str(run), "--to", "ada/walker"]) == 0
    assert "https://hub.example/ada/walker" in capsys.readouterr().out
    assert 'embodia.load("hf://ada/walker")' in (reached.root / "ada/walker/README.md").read_text()
    agent = embodia.load("hf://ada/walker")
    assert torch.equal(parameters(agent), parameters(embodia.load(run)))
    reached.reachable = False
    embodia.load("hf://ada/walker")
    assert "using the copy in runs/ada--walker" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_is_one_line_and_loses_nothing(run, reached):
    reached.reachable = False
    with pytest.raises(Mistake, match=r"hf://ada/walker: the hub gave no run \(no route to host\)"):
        embodia.load("hf://ada/walker")
    with pytest.raises(Mistake, match=r"not uploaded .* the folder is shared/ppo-empty-seed0"):
        share.main([str(run), "--to", "ada/walker"])
    assert runs.find("shared/ppo-empty-seed0", run.parent)


@pytest.mark.parametrize("name", ["ada", "hf://", "ada/b/c", "../x/y"])
def test_a_malformed_name_is_refused_before_the_network(name, run):
    with pytest.raises(Mistake, match="no name on the hub"):
        share.main([str(run), "--to", name])


def test_a_run_without_a_report_is_not_shared(run, tmp_path):
    copy = tmp_path / "unfinished"
    shutil.copytree(run, copy)
    (copy / "report.json").unlink()
    with pytest.raises(Mistake, match=r"report\.json is missing"):
        share.main([str(copy), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_exported_programs_run_without_embodia_and_answer_as_the_agent(run, tmp_path):
    assert export_policy.main([str(run), "--out", str(tmp_path / "policy"), "--steps", "30"]) == 0
    about = json.loads((tmp_path / "policy" / "policy.json").read_text())
    assert about["parity"]["onnx"]["steps"] == about["parity"]["torch"]["steps"] == 30
    assert about["parity"]["onnx"]["error"] <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "policy" / "policy.onnx"))
    agent = embodia.load(run)
    agent.observation_space.seed(1)
    obs = agent.observation_space.sample()
    given = {f"obs.{key}": value[None] for key, value in obs.items()} | {"first": np.ones(1, bool)}
    (action,) = session.run(None, {each.name: given[each.name] for each in session.get_inputs()})
    assert action[0] == agent.predict(obs)[0]


def test_nothing_is_written_for_a_policy_that_cannot_be_exported(run, tmp_path):
    with pytest.raises(Mistake, match="no trained policy"):
        export_policy.main(["random", "--env", "ppo-empty", "--out", str(tmp_path / "policy")])
    with pytest.raises(Mistake, match="--steps is 0"):
        export_policy.main([str(run), "--steps", "0"])
    assert not (tmp_path / "policy").exists()


class Client:
    """A tracker's client that remembers what it was told."""

    told: list = []  # noqa: RUF012 (shared on purpose)

    @classmethod
    def init(cls, **given):
        cls.told.append(("init", given["name"], given["id"]))
        log = SimpleNamespace(id=given["id"] or "abc")
        log.log = lambda numbers, step: cls.told.append((step, numbers))
        log.finish = lambda: cls.told.append("finish")
        return log


def test_a_tracker_gets_what_metrics_jsonl_gets_and_a_resumed_run_goes_on_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Client)
    Client.told.clear()
    with Logger(tmp_path, console=False, sinks=trackers.trackers(["wandb"], tmp_path, {"seed": 1})) as logger:
        logger.record(5, {"loss": 0.5})
    with Logger(tmp_path, console=False, sinks=trackers.trackers([], tmp_path, {"seed": 1})) as logger:
        logger.record(6, {"loss": 0.25})
    assert Client.told == [
        ("init", tmp_path.name, None),
        (5, {"loss": 0.5}),
        "finish",
        ("init", tmp_path.name, "abc"),
        (6, {"loss": 0.25}),
        "finish",
    ]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(5, 0.5), (6, 0.25)]


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(Mistake, match=r"pip install 'embodia\[mlflow\]'"):
        trackers.trackers(["mlflow"], tmp_path, {})


def test_parameters_have_dotted_names():
    assert trackers.flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == [("a.b", 1), ("a.c.d", 2), ("e", 3)]
