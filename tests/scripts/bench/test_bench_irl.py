"""The bench of rewards from experts: its rows, its measures, and at a tiny size each of its parts."""

import numpy as np
import pytest
import torch

from embodia.scripts.bench.generative.training import Budget
from embodia.scripts.bench.imitation import irl, object_worlds, reaching, terrain, words


class Line(dict):
    """A line of results that knows every number."""

    def __missing__(self, name):
        return [0.25, 0.75]


def test_the_rows_are_those_that_are_asked_for():
    lines = {name: [Line(cpu_minutes=1.0), Line(cpu_minutes=2.0)] for name in irl.PARTS}
    for line in lines["race"]:
        line |= {f"BC, {drives}": 0.5 for drives in irl.DRIVES}
    found = {row.name: row for row in irl.rows(lines)}
    assert {"maxent", "max-margin", "ssvm", "adversarial"} <= set(found)
    assert all(row.controls for row in found.values())
    assert found["maxent"].unit == "value difference"
    assert found["adversarial"].unit == "share of the expert's score"
    assert {"BC, 1", "DAgger, 20", "adversarial, 5"} <= {row.name for row in found["adversarial"].controls}
    assert found["max-margin"].cpu_minutes == 3


def test_a_true_reward_loses_no_value_and_random_walks_lose_all():
    truth = torch.randn(2, object_worlds.STATES, 1, generator=torch.Generator().manual_seed(0))
    assert object_worlds.value_difference(truth, truth).abs().max() < 1e-5
    assert object_worlds.value_difference(-truth, truth).min() > 1
    torch.testing.assert_close(object_worlds.correlation(2 * truth + 1, truth), torch.ones(2))


def test_demonstrations_follow_the_policy():
    policy = torch.zeros(object_worlds.HORIZON, 1, object_worlds.STATES, 5)
    policy[..., 0] = 1.0
    walks = object_worlds.demonstrate(policy, 4, torch.Generator().manual_seed(0))
    visits, start = object_worlds.counted(walks, 4)
    assert visits.sum().item() == pytest.approx(object_worlds.HORIZON)
    assert visits[..., 1:].sum() == 0
    assert start.sum().item() == pytest.approx(1)


def test_the_hidden_costs_are_judged_as_the_experts_own():
    maps = terrain.draw_maps(np.random.default_rng(0), 3)
    for style in terrain.STYLES:
        ratio, overlap = terrain.judged(terrain.hidden_cost(maps, style), maps, style)
        assert ratio == pytest.approx([1] * 3)
        assert overlap == pytest.approx([1] * 3)
    assert max(terrain.judged(torch.ones(3, terrain.SIDE**2), maps, "road")[0]) > 1.1


def test_words_follow_their_grammar_and_sets_share_no_handwriting():
    (x, y), (_, held) = words.spelled(np.random.default_rng(0), 30, 30)
    assert x.shape == (30, words.LENGTH, 65)
    for digit in range(words.DIGITS):
        both = np.concatenate([y, held])
        followers = set(both[:, 1:][both[:, :-1] == digit])
        assert len(followers) <= words.FOLLOWERS
    assert words.iou(np.array([[1, 1, 0]]), np.array([[0, 1, 1]])) == pytest.approx(1 / 3)


def test_demonstrated_actions_reach_the_goal_and_avoid_the_obstacle():
    shown = reaching.features(reaching.demonstrate(300, torch.Generator().manual_seed(0), 5000)).mean(0)
    straight = reaching.features((reaching.GOAL / reaching.HORIZON).expand(1, reaching.HORIZON, 2))[0]
    assert shown[1] < 1
    assert shown[2] < straight[2]


@pytest.mark.parametrize("part", ["words", "segments", "reaching"])
def test_a_part_runs_at_a_tiny_size(part, tmp_path):
    numbers = irl.PARTS[part](0, Budget(True, tmp_path))
    assert all(np.isfinite(value).all() for value in numbers.values())


@pytest.mark.slow
def test_the_whole_bench_runs_at_a_tiny_size(tmp_path):
    from embodia.scripts.bench.harness.options import Irl

    rows = irl.measure(Irl(seeds=1, smoke=True, out=tmp_path))
    assert len(rows) == 16
    assert len(list((tmp_path / "smoke").glob("*.png"))) == 7
