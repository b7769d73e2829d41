"""The bench of learned costs: its rows from finished parts, the recovery of hidden weights, the fit of marginals."""

import pytest
import torch

from embodia.planners.driving.learned.dsdnet import DSDNet
from embodia.scripts.bench.planning import costs, hidden_weights, marginals


def parts(scenarios, seeds):
    """Lines of finished parts, in which IDM scores 0.8 and everybody else 0.9."""
    found = {}
    for name in (*costs.BASELINES, *(entry.name for entry in costs.ENTRIES)):
        score = 0.8 if name == "IDM" else 0.9
        for traffic in costs.TRAFFIC:
            for begin in range(0, scenarios, costs.TOGETHER):
                part = (begin, min(begin + costs.TOGETHER, scenarios))
                drives = [{"score": score, costs.COLLISION: float(i > 0)} for i in range(*part)]
                lines = [{"drives": drives, "cpu_minutes": 1.0}] * (1 if name in costs.BASELINES else seeds)
                found[f"{name}, {traffic}, {costs.label(part)}"] = lines
        found[f"{name}, time"] = [{"alone": [3.0, 4.0, 9.0], "together": [1.0, 2.0], "shares": {"lane": 0.6}}]
    return found


def test_a_planner_has_a_row_for_each_traffic_with_its_controls_and_its_distance_from_idm():
    rows = costs.rows_of(costs.ENTRIES[0], parts(25, 2), 25, 2)
    first = rows[0]
    assert (first.name, first.unit, first.seeds) == ("neural-motion-planner replayed", "score", 2)
    assert first.value == pytest.approx(0.9)
    beside = {each.name: each.value for each in first.controls}
    assert beside["L2 regression replayed"] == pytest.approx(0.9)
    assert beside["IDM replayed"] == pytest.approx(0.8)
    assert beside["above IDM, paired"] == pytest.approx(0.1)
    assert rows[1].value == pytest.approx(1 / 25), "one drive in 25 has a collision"
    alone = next(each for each in rows if each.name.endswith("plan alone"))
    assert alone.value == 4.0
    assert alone.high > 8.5


def test_hidden_weights_are_recovered_and_two_stages_are_worse():
    found = hidden_weights.recover(seed=0)
    assert found["cosine"] >= 0.95
    assert found["behaviour"] >= 0.95
    assert found["two stages"] <= found["behaviour"] - 0.05
    lines = [{**found, "cpu_minutes": 0.1}]
    assert len(hidden_weights.rows({"hidden weights": lines})) == 3


def test_marginals_are_compared_with_enumeration():
    torch.manual_seed(0)
    found = marginals.compare(DSDNet().eval(), 6)
    assert max(found["joint"], default=0.0) <= max(found["alone"], default=0.0) + 0.01
    assert len(found["joint"]) == len(found["alone collisions"])
