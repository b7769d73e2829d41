"""The loop of self-supervision: learning rates, what a checkpoint holds, exact resume, collapse told."""

import json
import signal

import numpy as np
import pytest
import torch

from embodia.agents.training.pretraining import Pretraining, PretrainingConfig, pretrain
from embodia.agents.training.rng import seed_all
from embodia.agents.training.rows import NonFinite
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.self_supervision.byol import BYOL
from embodia.perception.self_supervision.vicreg import VICReg

CONFIG = PretrainingConfig(steps=6, batch_size=8, warmup=2, log_every=2, device="cpu")


class Shapes:
    """Batches of ten shapes in an order of its own."""

    space = SPACE

    def __init__(self):
        self.pictures = shapes10(64, 0)[0].numpy()
        self.rng = np.random.default_rng(0)

    def batch(self, n):
        return {"image": self.pictures[self.rng.integers(64, size=n)][None]}

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]


def learner(config=CONFIG, kind=VICReg):
    seed_all(0)
    return Pretraining(kind(ConvNet(SPACE, (8, 8), (2, 2)), widths=(16, 16)), config, {"said": "so"})


def test_half_a_run_and_the_other_half_are_the_run_bit_for_bit(tmp_path):
    straight = learner()
    assert pretrain(straight, Shapes(), tmp_path / "straight") == 6

    clips, halves = Shapes(), learner()
    whole = clips.batch

    def stopping(n):
        if halves.updates == 3:
            signal.raise_signal(signal.SIGTERM)
        return whole(n)

    clips.batch = stopping
    assert pretrain(halves, clips, tmp_path / "halves") == 4
    again = learner()
    torch.manual_seed(5)
    assert pretrain(again, Shapes(), tmp_path / "halves", resume=True) == 6
    for name, value in straight.method.state_dict().items():
        assert torch.equal(value, again.method.state_dict()[name]), name
    lines = [(tmp_path / who / "metrics.jsonl").read_text().splitlines() for who in ("straight", "halves")]
    strip = [[{k: v for k, v in json.loads(line).items() if "time" not in k} for line in each] for each in lines]
    assert strip[0] == strip[1]
    assert {"loss", "effective_rank", "embedding_std"} <= set(strip[0][0])


def test_a_checkpoint_holds_the_encoder_and_says_what_it_is(tmp_path):
    made = learner()
    pretrain(made, Shapes(), tmp_path)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "encoder.safetensors",
        "encoder.json",
        "training.pt",
        "meta.json",
    }
    assert json.loads((folder / "encoder.json").read_text()) == {"said": "so", "step": 6}
    fresh = learner(CONFIG)
    fresh.load(folder)
    for name, value in made.encoder.state_dict().items():
        assert torch.equal(value, fresh.encoder.state_dict()[name])
    with pytest.raises(FileExistsError, match="resume it"):
        pretrain(learner(), Shapes(), tmp_path)


def test_learning_rates_rise_and_fall_but_a_predictors_stays():
    made = learner(PretrainingConfig(steps=10, warmup=2, device="cpu"), BYOL)
    seen = {10.0: [], 0.0: []}
    for made.updates in range(11):
        made._set_learning_rate()
        for steady in seen:
            rates = {group["lr"] for group in made.optimizer.param_groups if group["steady"] == steady}
            assert len(rates) == 1
            seen[steady].append(rates.pop())
    assert seen[10.0] == pytest.approx([5e-3] + [1e-2] * 10)
    assert seen[0.0][:3] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert seen[0.0][6] == pytest.approx(5e-4)
    assert seen[0.0][10] == pytest.approx(0)
    decays = {p.ndim > 1: g["weight_decay"] for g in made.optimizer.param_groups for p in g["params"]}
    assert decays == {True: 1e-4, False: 0.0}


def test_collapse_and_a_loss_that_is_no_number_are_told(tmp_path):
    made = learner(PretrainingConfig(steps=2, batch_size=4, warmup=0, log_every=1, device="cpu"))
    for parameter in made.method.projector.parameters():
        torch.nn.init.zeros_(parameter)
    with pytest.warns(UserWarning, match="collapse at update 1"):
        pretrain(made, Shapes(), tmp_path / "a")
    made = learner()
    torch.nn.init.constant_(made.encoder.body[0].weight, float("nan"))
    with pytest.raises(NonFinite, match="loss is nan at update 1"):
        pretrain(made, Shapes(), tmp_path / "b")
