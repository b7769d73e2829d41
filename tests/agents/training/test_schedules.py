"""Learning-rate schedules compared with closed forms and PyTorch's schedules."""

import numpy as np
import pytest
import torch
from torch import nn

from embodia.agents.training.schedules import SCHEDULES

UPDATES, WARMUP = 40, 5


def rates(name, updates=UPDATES, warmup=WARMUP):
    shares = [SCHEDULES[name](update, updates, warmup) for update in range(updates + 1)]
    return [share.rise * share.fall for share in shares]


def test_all_rise_over_the_warm_up_and_none_leaves_0_to_1():
    for name, first in (("cosine", 0.2), ("constant", 0.2), ("trapezoid", 0.0)):
        found = rates(name)
        assert found[: WARMUP + 1] == pytest.approx([min(1, first + 0.2 * k) for k in range(WARMUP + 1)]), name
    for name in SCHEDULES:
        assert 0 <= min(rates(name)) <= max(rates(name)) <= 1
        assert SCHEDULES[name](0, 1, 0).fall >= 0


def test_cosine_is_torchs_after_the_warm_up():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES - WARMUP)
    expected = []
    for _ in range(UPDATES - WARMUP + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates("cosine")[WARMUP:] == pytest.approx(expected, abs=1e-12)


def test_the_straight_ones():
    assert rates("constant")[WARMUP:] == [1.0] * (UPDATES + 1 - WARMUP)
    assert rates("linear", warmup=0)[:-1] == pytest.approx(1 - 0.95 * np.arange(1, UPDATES + 1) / UPDATES)
    assert rates("trapezoid")[WARMUP:31] == [1.0] * (31 - WARMUP)
    assert rates("trapezoid")[30:] == pytest.approx(np.linspace(1, 0, 11))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_one_cycle_is_torchs(kind):
    weights = nn.Linear(1, 1).parameters()
    optimizer = torch.optim.AdamW(weights, 2.0) if kind == "adamw" else torch.optim.SGD(weights, 2.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.0, UPDATES)
    for update in range(UPDATES):
        share, (group,) = SCHEDULES["one_cycle"](update, UPDATES, WARMUP), optimizer.param_groups
        assert 2.0 * share.rise * share.fall == pytest.approx(group["lr"], rel=1e-12)
        assert share.momentum == pytest.approx(group["betas"][0] if kind == "adamw" else group["momentum"], rel=1e-12)
        optimizer.step()
        if update + 1 < UPDATES:
            schedule.step()
