"""Set prediction: matching against all permutations, losses under reordering, sequences there and back, learning."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.pictures.coloured_discs import coloured_discs
from embodia.perception.scores.set_scores import set_f1
from embodia.perception.structured.sets import BadSet
from embodia.perception.structured.sets.autoregressive import IGNORE, AutoregressivePredictor
from embodia.perception.structured.sets.hungarian import match, of_matched
from embodia.perception.structured.sets.set_predictor import SetPredictor, set_loss


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_the_best_permutation(seed):
    rng = np.random.default_rng(seed)
    cost = torch.from_numpy(rng.normal(size=(2, 5, 4)))
    real = torch.tensor([[True] * 4, [True, False, True, False]])
    matched = match(cost, real)
    for each, found, there in zip(cost.numpy(), matched.numpy(), real.numpy(), strict=True):
        elements = np.flatnonzero(there)
        best = min(each[list(order), elements].sum() for order in permutations(range(5), len(elements)))
        chosen = np.flatnonzero(found >= 0)
        assert sorted(found[chosen]) == elements.tolist()
        assert each[chosen, found[chosen]].sum() == pytest.approx(best)


def test_values_follow_their_match():
    values = torch.arange(6.0).reshape(1, 3, 2)
    matched = torch.tensor([[2, -1, 0, 1]])
    assert of_matched(values, matched)[0].tolist() == [[4, 5], [0, 1], [0, 1], [2, 3]]
    assert of_matched(values[..., 0], matched)[0].tolist() == [4, 0, 0, 2]


def test_a_cost_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="matching cost is NaN"):
        match(torch.full((1, 2, 2), torch.nan), torch.ones(1, 2, dtype=torch.bool))


def random_set(seed=0, n=2, m=4, queries=6, classes=3):
    g = torch.Generator().manual_seed(seed)
    logits, values = torch.randn(n, queries, classes + 1, generator=g), torch.rand(n, queries, 2, generator=g)
    labels = torch.randint(classes, (n, m), generator=g)
    labels[1, 2:] = -1
    return logits, values, labels, torch.rand(n, m, 2, generator=g)


def test_the_set_loss_does_not_change_with_the_order():
    logits, values, labels, points = random_set()
    loss = set_loss(logits, values, labels, points)[0]
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        torch.testing.assert_close(set_loss(logits, values, labels[:, order], points[:, order])[0], loss)
    queries = torch.randperm(6)
    torch.testing.assert_close(set_loss(logits[:, queries], values[:, queries], labels, points)[0], loss)


def test_the_set_loss_is_zero_for_the_truth_in_any_order():
    _, _, labels, points = random_set()
    wanted = torch.where(labels < 0, 3, labels)[:, [2, 0, 3, 1]]
    logits = 100.0 * torch.nn.functional.one_hot(wanted, 4)
    assert set_loss(logits, points[:, [2, 0, 3, 1]], labels, points)[0].item() == pytest.approx(0, abs=1e-6)


def predictor(kind, **options):
    torch.manual_seed(0)
    encoder = ResNet(coloured_discs(1, 0, 16).space(), 32, 16, (1, 1), tokens="grid")
    return kind(encoder, 4, 4, **options)


def test_sorted_sequences_do_not_depend_on_the_order_of_labels_and_random_ones_do():
    _, _, labels, points = random_set()
    order = [3, 1, 0, 2]
    model = predictor(AutoregressivePredictor)
    tokens = model.sequences(labels, points)
    assert tokens.equal(model.sequences(labels[:, order], points[:, order]))
    model.order = "random"
    assert len({tuple(model.sequences(labels, points)[0].tolist()) for _ in range(20)}) > 1


def test_a_sequence_gives_its_set_back():
    _, _, labels, points = random_set()
    model = predictor(AutoregressivePredictor, bins=100)
    for sequence, label, point in zip(model.sequences(labels, points), labels, points, strict=True):
        real = label >= 0
        rank = point[real, 0].argsort()
        found = model._elements(sequence)
        assert found.labels.tolist() == label[real][rank].tolist()
        torch.testing.assert_close(found.values, point[real][rank], atol=0.0051, rtol=0)
        length = 3 * int(real.sum())
        assert sequence[length] == model.end
        assert (sequence[length + 1 :] == IGNORE).all()


def test_teacher_forcing_shows_the_past_only():
    """A token's logits do not change with later tokens."""
    model = predictor(AutoregressivePredictor).eval()
    tokens = model.tokens({"image": torch.from_numpy(coloured_discs(1, 0, 16).images)})
    before = torch.tensor([[model.end, 3, 5, 25, 7, 1, 24]])
    later = before.clone()
    later[:, 4:] = 2
    torch.testing.assert_close(model.logits(tokens, before)[:, :4], model.logits(tokens, later)[:, :4])


def batches(discs):
    def draw(rng, n):
        i = rng.integers(len(discs.images), size=n)
        obs = {"image": torch.from_numpy(discs.images[i])}
        return {"obs": obs, "labels": torch.from_numpy(discs.labels[i]), "values": torch.from_numpy(discs.values[i])}

    return RandomBatches(draw, 0)


@pytest.mark.parametrize("kind", [SetPredictor, partial(AutoregressivePredictor, bins=8)])
def test_predictors_learn_a_small_set(kind):
    discs = coloured_discs(16, 0, 16, (0, 3))
    model = predictor(kind)
    obs = {"image": torch.from_numpy(discs.images)}

    def f1():
        pairs = zip(model.eval()(obs), discs.labels, discs.values, strict=True)
        return np.mean([set_f1(found, (label[label >= 0], value[label >= 0]), 0.15) for found, label, value in pairs])

    before = f1()
    fit(model, batches(discs), FitConfig(steps=150, batch_size=16, learning_rate=3e-3), logger=Logger(console=False))
    assert f1() > before + 0.3


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [
        ([[4]], [[[0.5, 0.5]]], "label 4 is out of range: classes are 0 to 3"),
        ([[0]], [[[0.5, 12.0]]], "a point lies outside of 0 to 1"),
        ([[0] * 5], [[[0.5, 0.5]] * 5], "a set has 5 elements, but the predictor gives at most 4"),
    ],
)
@pytest.mark.parametrize("kind", [SetPredictor, AutoregressivePredictor])
def test_bad_sets_are_refused(kind, labels, values, message):
    obs = {"image": torch.zeros(1, 16, 16, 3, dtype=torch.uint8)}
    with pytest.raises(BadSet, match=message):
        predictor(kind).loss({"obs": obs, "labels": torch.tensor(labels), "values": torch.tensor(values)})
