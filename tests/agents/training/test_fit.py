"""The training loop on data: exact resume, two optimizers, averaging, precision, evaluation, non-finite losses."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F

from embodia.agents import Agent
from embodia.agents.training import checkpoint
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.optimization import Optimization
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.agents.training.rows import NonFinite
from embodia.agents.training.weights import load_weights
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.self_supervision.byol import BYOL
from embodia.perception.self_supervision.dino import DINO, DINOConfig
from embodia.perception.self_supervision.vicreg import VICReg

CONFIG = FitConfig(steps=6, batch_size=8, learning_rate=1e-2, warmup=2, log_every=2, device="cpu")


class Line(nn.Module):
    """Fits y = 2 x + 1 with its own noise and dropout, so that the result depends on every random generator."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.Dropout(0.2), nn.Linear(16, 1))

    def loss(self, batch):
        loss = F.mse_loss(self.net(batch["x"] + 0.01 * torch.randn_like(batch["x"])), batch["y"])
        return loss, {"twice": 2 * loss}


class Duel(nn.Module):
    """A generator and a discriminator, each with its own optimizer."""

    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
        self.optimizers = (
            torch.optim.Adam(self.generator.parameters(), lr=1e-2),
            torch.optim.SGD(self.discriminator.parameters(), lr=3e-2, momentum=0.5),
        )

    @property
    def kept(self):
        return self.generator

    def update(self, batch):
        made = self.generator(torch.randn_like(batch["y"]))
        generator, discriminator = self.optimizers
        told = F.softplus(self.discriminator(made.detach())).mean() + F.softplus(-self.discriminator(batch["y"])).mean()
        discriminator.zero_grad()
        told.backward()
        discriminator.step()
        fooled = F.softplus(-self.discriminator(made)).mean()
        generator.zero_grad()
        fooled.backward()
        generator.step()
        return {"loss": fooled, "discriminator": told.detach()}


def pairs(generator, n):
    x = generator.normal(size=(n, 1)).astype(np.float32)
    return {"x": x, "y": 2 * x + 1}


def data():
    return RandomBatches(pairs, 0)


def made(kind=Line):
    seed_all(0)
    return kind()


def weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "time" not in key} for line in found]


# Resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (Line, CONFIG),
        (Line, replace(CONFIG, average=0.5, schedule="one_cycle", precision="bfloat16")),
        (Line, replace(CONFIG, optimizer="sgd", schedule="trapezoid")),
        (Duel, CONFIG),
    ],
)
def test_half_a_run_and_the_other_half_are_the_run_bit_for_bit(kind, config, tmp_path):
    whole = made(kind)
    assert fit(whole, data(), config, tmp_path / "whole").updates == 6

    def stopping(generator, n):
        calls.append(n)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return pairs(generator, n)

    calls = []
    assert fit(made(kind), RandomBatches(stopping, 0), config, tmp_path / "parts").updates == 3
    again = made(kind)
    torch.manual_seed(5)
    assert fit(again, data(), config, tmp_path / "parts", resume=True).updates == 6
    assert torch.equal(weights(whole), weights(again))
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert [line["step"] for line in lines(tmp_path / "whole")] == [2, 4, 6]


@pytest.mark.parametrize("kind", [VICReg, BYOL, DINO])
def test_encoders_under_self_supervision_resume_bit_for_bit(kind, tmp_path):
    """The state of training includes a momentum teacher and prototypes that are frozen at first."""
    pictures = shapes10(64, 0)[0].numpy()

    def learner():
        seed_all(0)
        options = {"config": DINOConfig(16, 16, 8, frozen_updates=2)} if kind is DINO else {"widths": (16, 16)}
        return kind(ConvNet(SPACE, (8, 8), (2, 2)), **options)

    def shapes():
        return RandomBatches(lambda rng, n: {"obs": {"image": pictures[rng.integers(64, size=n)]}})

    config = replace(CONFIG, schedule="constant")
    whole = learner()
    fit(whole, shapes(), config)
    fit(learner(), shapes(), replace(config, steps=3), tmp_path)
    again = learner()
    fit(again, shapes(), config, tmp_path, resume=True)
    assert torch.equal(weights(whole), weights(again))
    if kind is DINO:
        assert not torch.equal(whole.head.prototypes, learner().head.prototypes)


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from test_fit import CONFIG, KINDS, RandomBatches, fit, made, pairs

def dying(generator, n):
    calls.append(n)
    if len(calls) == 5:
        os.kill(os.getpid(), 9)
    return pairs(generator, n)

for kind in KINDS:
    calls = []
    if os.fork() == 0:
        fit(made(kind), RandomBatches(dying, 0), replace(CONFIG, save_seconds=0), f"{sys.argv[2]}/{kind.__name__}")
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -9
"""
KINDS = (Line, Duel)


def test_a_killed_process_loses_what_came_after_its_last_checkpoint_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, os.path.dirname(__file__), str(tmp_path)], check=True)
    for kind in KINDS:
        folder = tmp_path / kind.__name__
        assert [path.name for path in checkpoint.list_steps(folder / "checkpoints")] == ["000000003", "000000004"]
        whole, again = made(kind), made(kind)
        fit(whole, data(), CONFIG)
        fit(again, data(), CONFIG, folder, resume=True)
        assert torch.equal(weights(whole), weights(again))


def test_a_folder_that_holds_a_run_is_not_overwritten_and_another_learners_is_not_read(tmp_path):
    fit(made(), data(), CONFIG, tmp_path)
    with pytest.raises(FileExistsError, match="resume it or choose another folder"):
        fit(made(), data(), CONFIG, tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="written by Line, but this learner is Duel"):
        fit(made(Duel), data(), CONFIG, tmp_path, resume=True)
    wider = made()
    wider.net[0] = nn.Linear(1, 17)
    with pytest.raises(checkpoint.CheckpointError, match="does not fit this Line"):
        fit(wider, data(), CONFIG, tmp_path, resume=True)


def test_a_checkpoint_holds_what_is_kept_and_says_what_it_is(tmp_path):
    duel = made(Duel)
    fit(duel, data(), CONFIG, tmp_path, name="painter", about={"width": 1}, meta={"config": "so"})
    _, folder = checkpoint.list_steps(tmp_path / "checkpoints")
    assert {path.name for path in folder.iterdir()} == {
        *("painter.safetensors", "painter.json"),
        *("training.pt", "meta.json"),
    }
    assert json.loads((folder / "painter.json").read_text()) == {"width": 1, "step": 6}
    assert checkpoint.load(folder).meta["config"] == "so"
    fresh = nn.Linear(1, 1)
    load_weights(fresh, folder / "painter.safetensors")
    assert torch.equal(weights(fresh), weights(duel.generator))


def test_without_a_folder_nothing_is_kept_and_ctrl_c_is_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = fit(made(), data(), CONFIG)
    assert now.updates == 6
    assert [sorted(line) for line in now.lines] == [
        ["gradient_norm", "learning_rate", "loss", "time/steps_per_second", "twice"]
    ] * 3
    assert now.lines[0]["twice"] == pytest.approx(2 * now.lines[0]["loss"])
    assert not list(tmp_path.iterdir())

    def interrupted(generator, n):
        signal.raise_signal(signal.SIGINT)
        return pairs(generator, n)

    with pytest.raises(KeyboardInterrupt):
        fit(made(), RandomBatches(interrupted), CONFIG)


class Guess(Agent):
    """Learns the mean of its data; its state is a weight and a counter."""

    observation_space, action_space = spaces.Dict(), spaces.Discrete(2)

    def __init__(self):
        self.mean, self.updates = np.zeros(1), 0

    def act(self, obs, carry, first, mode):
        return np.zeros(len(first), np.int64), carry, {}

    def buffer(self):
        raise AssertionError("on data there is no buffer")

    def update(self, batch):
        self.updates += 1
        self.mean = self.mean + (batch["y"].mean() - self.mean) / self.updates
        return {"mean": float(self.mean[0])}

    def save(self, folder):
        save_file({"mean": self.mean}, folder / "agent.safetensors")

    def load(self, folder):
        self.mean = load_file(folder / "agent.safetensors")["mean"]

    def training_state(self):
        return {"updates": self.updates}

    def set_training_state(self, state):
        self.updates = state["updates"]


def test_an_agent_learns_from_data_and_is_resumed_as_one(tmp_path):
    whole, halves, again = Guess(), Guess(), Guess()
    fit(whole, data(), CONFIG)
    fit(halves, data(), replace(CONFIG, steps=3), tmp_path)
    now = fit(again, data(), CONFIG, tmp_path, evaluate=lambda: {"success": 0.5}, resume=True)
    assert (whole.mean, whole.updates) == (again.mean, again.updates)
    assert now.lines[-1]["mean"] == pytest.approx(again.mean[0], abs=0.5)
    meta = checkpoint.load(checkpoint.best(tmp_path / "checkpoints")).meta
    assert (meta["agent"], meta["score"], "action_space" in meta) == ("Guess", 0.5, True)
    with pytest.raises(checkpoint.CheckpointError, match="written by Guess, but this learner is Line"):
        fit(made(), data(), CONFIG, tmp_path, resume=True)


# How weights move ---------------------------------------------------------------------------------------------------


def test_it_learns():
    line = made()
    fit(line, data(), replace(CONFIG, steps=400, batch_size=64, log_every=100))
    assert not line.training
    x = torch.linspace(-1, 1, 9)[:, None]
    assert (line.net(x) - (2 * x + 1)).abs().max() < 0.4


def test_the_average_is_what_its_formula_says_and_what_is_kept_and_left_behind(tmp_path):
    config = replace(CONFIG, average=0.7, save_seconds=0, keep=0)
    seen, line = [], made()
    optimization = Optimization(line, config)
    for _ in range(4):
        optimization.update(pairs(np.random.default_rng(0), 8))
        seen.append(weights(line))
    expected = seen[0]
    for each in seen[1:]:
        expected = 0.7 * expected + 0.3 * each
    torch.testing.assert_close(weights(optimization.kept), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(weights(line), seen[-1])
    with optimization.evaluating():
        torch.testing.assert_close(weights(line), expected, rtol=1e-6, atol=1e-7)
        assert not line.training
        assert not torch.is_grad_enabled()
    assert torch.equal(weights(line), seen[-1])
    optimization.save(tmp_path)
    optimization.finish()
    fresh = made()
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(weights(fresh), weights(line))


def test_gradients_are_clipped_to_the_limit():
    """SGD without momentum or warm-up moves by rate x clipped gradient."""
    config = replace(CONFIG, optimizer="sgd", momentum=0.0, warmup=0, schedule="constant", weight_decay=0.0)
    moved = {}
    for clip in (0.5, 1e9, None):
        line = made()
        before = weights(line)
        numbers = Optimization(line, replace(config, clip=clip)).update(pairs(np.random.default_rng(0), 8))
        moved[clip] = (weights(line) - before).norm() / 1e-2
        norm = numbers["gradient_norm"]
    assert norm > 0.6
    assert moved[0.5] == pytest.approx(0.5, rel=1e-4)
    assert moved[1e9] == moved[None] == pytest.approx(float(norm), rel=1e-4)


def test_what_decays_what_is_steady_and_what_is_frozen():
    line = made()
    line.steady = {"extra": 10.0}
    line.extra = nn.Linear(1, 1)
    line.still = nn.Linear(1, 1).requires_grad_(False)

    def groups(**options):
        (optimizer,) = Optimization(line, replace(CONFIG, weight_decay=0.1, **options)).optimizers
        names = {id(parameter): name for name, parameter in line.named_parameters()}
        return {names[id(p)]: (g["weight_decay"], g["steady"]) for g in optimizer.param_groups for p in g["params"]}

    found = groups()
    assert found == {
        **{"net.0.weight": (0.1, 0.0), "net.0.bias": (0.0, 0.0), "net.2.weight": (0.1, 0.0), "net.2.bias": (0.0, 0.0)},
        **{"extra.weight": (0.1, 10.0), "extra.bias": (0.0, 10.0)},
    }
    assert {decay for decay, _ in groups(decay_all=True).values()} == {0.1}
    with pytest.raises(TypeError, match="no weights that require a gradient"):
        Optimization(line.requires_grad_(False), CONFIG)


def test_rates_follow_the_schedule_but_steady_ones_and_own_optimizers_keep_their_proportion():
    line = made()
    line.steady = {"extra": 10.0}
    line.extra = nn.Linear(1, 1)
    optimization = Optimization(line, replace(CONFIG, steps=10))
    rates = {0.0: [], 10.0: []}
    for optimization.updates in range(11):
        optimization._set_rates()
        for group in optimization.optimizers[0].param_groups:
            rates[group["steady"]].append(group["lr"])
    assert rates[10.0][::2] == pytest.approx([5e-2] + [1e-1] * 10)
    assert rates[0.0][::2] == pytest.approx([5e-3] + [1e-2] + [5e-3 * (1 + np.cos(np.pi * k / 8)) for k in range(9)])
    duel = Optimization(made(Duel), replace(CONFIG, steps=10, schedule="linear", warmup=0))
    duel.updates = 4
    duel._set_rates()
    assert [o.param_groups[0]["lr"] for o in duel.optimizers] == pytest.approx([1e-2 * 0.525, 3e-2 * 0.525])


def test_bfloat16_computes_the_loss_and_keeps_the_weights():
    losses, computed = {}, []
    for precision in ("float32", "bfloat16"):
        line = made()
        line.net[0].register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
        losses[precision] = fit(line, data(), replace(CONFIG, precision=precision)).lines[-1]["loss"]
        assert {p.dtype for p in line.parameters()} == {torch.float32}
    assert computed == [torch.float32] * 6 + [torch.bfloat16] * 6
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_float16_scales_the_loss_passes_over_what_overflows_and_resumes(tmp_path):
    """The initial scale of 65,536 is too large for a loss of thousands; it is halved until gradients are finite."""

    def large(generator, n):
        found = pairs(generator, n)
        return {**found, "y": 50 * found["y"]}

    config = replace(CONFIG, precision="float16", steps=20, clip=None)
    line = made()
    before, optimization = weights(line), Optimization(line, config)
    norms = [float(optimization.update(large(np.random.default_rng(k), 8))["gradient_norm"]) for k in range(16)]
    assert not np.isfinite(norms[0])
    assert np.isfinite(norms[-1])
    assert weights(line).isfinite().all()
    assert not torch.equal(weights(line), before)
    config = replace(config, schedule="constant")
    fit(made(), RandomBatches(large), replace(config, steps=10), tmp_path)
    resumed, straight = made(), made()
    fit(straight, RandomBatches(large), config)
    fit(resumed, RandomBatches(large), config, tmp_path, resume=True)
    assert torch.equal(weights(straight), weights(resumed))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_in_one_kernel_is_adam(optimizer):
    found = {}
    for fused in (True, False):
        found[fused] = made()
        fit(found[fused], data(), replace(CONFIG, optimizer=optimizer, fused=fused, weight_decay=0.1))
    torch.testing.assert_close(weights(found[True]), weights(found[False]), rtol=1e-4, atol=1e-6)


def test_adam_and_adamw_decay_differently():
    adam, adamw = made(), made()
    for line, optimizer in ((adam, "adam"), (adamw, "adamw")):
        fit(line, data(), replace(CONFIG, optimizer=optimizer, weight_decay=0.1))
    assert not torch.allclose(weights(adam), weights(adamw), rtol=1e-4)


def test_the_loss_is_compiled_where_that_is_asked_for(monkeypatch):
    compiled = []

    def compile_(function):
        return lambda batch: (compiled.append(1), function(batch))[1]

    monkeypatch.setattr(torch, "compile", compile_)
    fit(made(), data(), replace(CONFIG, compile=True))
    fit(made(), data(), CONFIG)
    assert len(compiled) == 6


# Evaluation and warnings ----------------------------------------------------------------------------------------------


def test_an_evaluation_draws_what_it_likes_and_training_does_not_notice(tmp_path):
    alone = made()
    fit(alone, data(), CONFIG)
    judged, told = made(), []

    def evaluate():
        torch.rand(3), np.random.rand(3)  # noqa: NPY002
        told.append((judged.training, torch.is_grad_enabled()))
        return {"error": float(len(told)), "other": 0.5}

    now = fit(judged, data(), replace(CONFIG, eval_every=4), tmp_path, evaluate=evaluate)
    assert torch.equal(weights(alone), weights(judged))
    assert told == [(False, False)] * 2, "at update 4 and at the end"
    assert now.scores == {"error": 2.0, "other": 0.5}
    assert [line["eval/error"] for line in lines(tmp_path) if "eval/error" in line] == [1.0, 2.0]


@pytest.mark.parametrize(("decides", "best"), [(None, 2), ("error", 2), ("-error", 4), ("other", 6)])
def test_the_best_checkpoint_stays(decides, best, tmp_path):
    scores = iter([{"error": 3.0, "other": 0.0}, {"error": 1.0, "other": 0.0}, {"error": 2.0, "other": 1.0}])
    config = replace(CONFIG, eval_every=2, keep=1)
    fit(made(), data(), config, tmp_path, evaluate=lambda: next(scores), decides=decides)
    folder = tmp_path / "checkpoints"
    assert checkpoint.best(folder).name == f"{best:09d}"
    assert [path.name for path in checkpoint.list_steps(folder)] == [f"{k:09d}" for k in sorted({best, 6})]
    with pytest.raises(ValueError, match="decides is success, but the evaluation gives error; name one"):
        fit(made(), data(), CONFIG, tmp_path / "wrong", evaluate=lambda: {"error": 1.0}, decides="-success")


def test_an_evaluation_that_was_given_up_is_made_up_for_on_resume(tmp_path):
    def evaluate():
        signal.raise_signal(signal.SIGINT)
        return {"error": 1.0}

    now = fit(made(), data(), CONFIG, tmp_path, evaluate=evaluate)
    assert (now.updates, now.evaluated) == (6, 0)
    now = fit(made(), data(), CONFIG, tmp_path, evaluate=lambda: {"error": 1.0}, resume=True)
    assert (now.updates, now.evaluated) == (6, 6)


def test_a_loss_that_is_no_number_ends_it_naming_the_update_and_the_checkpoint_before_stays(tmp_path):
    def spoiled(generator, n):
        found = pairs(generator, n)
        calls.append(n)
        return {**found, "y": found["y"] * (np.inf if len(calls) == 4 else 1)}

    calls = []
    config = replace(CONFIG, log_every=3, save_seconds=0, keep=1)
    with pytest.raises(NonFinite, match="the loss is inf at update 4; lower the learning rate"):
        fit(made(), RandomBatches(spoiled, 0), config, tmp_path)
    (kept,) = checkpoint.list_steps(tmp_path / "checkpoints")
    assert kept.name == "000000003"
    assert all(value.isfinite().all() for value in checkpoint.load(kept).training()["learner"]["learner"].values())
    assert [line["step"] for line in lines(tmp_path)] == [3]
    calls.clear()
    with pytest.raises(NonFinite, match="at update 4"):
        fit(made(), RandomBatches(spoiled, 0), config)


def test_collapse_is_told_once_and_not_in_the_warm_up():
    class Collapsed(Line):
        def loss(self, batch):
            loss, _ = super().loss(batch)
            return loss, {"embedding_std": torch.tensor(0.01)}

    with pytest.warns(UserWarning, match="collapse at update 4: .* is 0.010") as told:
        fit(made(Collapsed), data(), CONFIG)
    assert len(told) == 1


def test_numbers_stay_on_the_device_until_a_line_is_written(monkeypatch):
    reads = []
    for name in ("item", "tolist", "__float__"):
        whole = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, whole=whole: (reads.append(1), whole(self))[1])

    def counting(generator, n):
        counted.append(len(reads))
        return pairs(generator, n)

    counted = []
    fit(made(), RandomBatches(counting), replace(CONFIG, log_every=3, clip=None))
    start = counted[0]  # choosing a device tries it
    assert [each - start for each in counted[:3]] == [0, 0, 0]
    assert [each - start for each in counted[3:6]] == [2, 2, 2], "the losses, and all other numbers"


def test_what_is_no_learner_is_named():
    class Nothing(nn.Module):
        pass

    class Half(nn.Module):
        def update(self, batch):
            return {}

    for learner, words in (
        (object(), "object is not a learner: derive it from torch.nn.Module"),
        (Nothing(), r"Nothing is not a learner: add loss\(batch\)"),
        (Half(), "Half has an update method but no optimizers"),
    ):
        with pytest.raises(TypeError, match=words):
            fit(learner, data(), CONFIG)
