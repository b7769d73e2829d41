"""The bench of generative models: its rows, and at a tiny size each of its parts."""

import numpy as np
import pytest
import torch

from embodia.scripts.bench.generative import generative
from embodia.scripts.bench.generative.glyphs import SLOTS, SYMBOLS, condition_of, font, read, written
from embodia.scripts.bench.generative.guidance import on_its_side, within_class_variance
from embodia.scripts.bench.generative.training import Budget


class Line(dict):
    """A line of results that knows every number."""

    def __missing__(self, name):
        return 0.25


def test_the_rows_are_those_that_are_asked_for():
    lines = {name: [Line(cpu_minutes=1.0), Line(cpu_minutes=2.0)] for name in generative.PARTS}
    found = {row.name: row for row in generative.rows(lines)}
    asked = "ncsn toy, ddpm, ddim consistency, dpm-solver, cfg, steering, consistency, likelihood, ddim step"
    asked += ", linear autoencoder, conv autoencoder, denoising autoencoder, vae, deep autoencoder, sampling the code"
    energies = "rbm, ais, deep boltzmann machine, mean field, hmc, mala, ebm rings, energy digits"
    assert {*asked.split(", "), *energies.split(", "), "scheduled sampling"} <= set(found)
    assert all(row.controls for row in found.values())
    assert found["ncsn toy"].paper == 0.2
    assert found["ddpm"].cpu_minutes == 3


def test_a_string_that_is_drawn_can_be_read():
    glyphs, symbols = font(0), torch.randint(SYMBOLS, (5, SLOTS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(read(written(symbols, glyphs), glyphs), symbols)
    assert len(condition_of(torch.arange(SYMBOLS)[:, None].expand(-1, SLOTS)).unique(dim=0)) == SYMBOLS


def test_measures_of_guidance():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
    assert on_its_side(x) == 0.75
    assert within_class_variance(x, torch.tensor([0, 0, 1, 1])) == pytest.approx((0.5 + 8) / 4)


@pytest.mark.slow
def test_the_whole_bench_runs_at_a_tiny_size(tmp_path, monkeypatch):
    measured = generative.measure(seeds=1, smoke=True, out=tmp_path)
    assert len(measured["rows"]) == 29
    assert all(np.isfinite(row["value"]) for row in measured["rows"])
    assert len(list((tmp_path / "smoke").glob("*.png"))) == 18
    assert Budget(smoke=True).steps(3000) == 20
