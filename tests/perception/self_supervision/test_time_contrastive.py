"""Tests of time contrast: cross entropy in closed form, choice of positives, and distances that grow with time."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.resnet import ResNet
from embodia.perception.self_supervision.time_contrastive import (
    TimeContrastive,
    drawn_positive,
    films,
    squared_distances,
    time_contrast,
)

SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (16, 16, 3), np.uint8)})


def small():
    torch.manual_seed(0)
    return ResNet(SPACE, dim=16, width=8, blocks=(1, 1), tokens="grid")


def test_cross_entropy_in_closed_form():
    """Two videos of two frames: one positive and two negatives; the frame and its neighbour are no negatives."""
    distance = torch.tensor([[0.0, 1.0, 2.0, 3.0], [1, 0, 3, 2], [2, 3, 0, 4], [3, 2, 4, 0]])
    near = torch.tensor([[True, True, False, False]] * 2 + [[False, False, True, True]] * 2)
    positive = torch.tensor([1, 0, -1, 2])
    loss, right = time_contrast(distance, positive, near)
    expected = [math.log(1 + math.exp(1 - 2) + math.exp(1 - 3))] * 2 + [math.log(1 + math.exp(4 - 3) + math.exp(4 - 2))]
    assert loss.item() == pytest.approx(np.mean(expected))
    assert right.item() == pytest.approx(2 / 3)


def test_distances_are_the_planners_own():
    tokens = torch.randn(5, 4, 6)
    expected = (tokens[:, None] - tokens).square().mean((2, 3))
    torch.testing.assert_close(squared_distances(tokens.flatten(1)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_a_positive_is_another_frame_of_the_film_within_reach(reach):
    first = torch.zeros(7, 5, dtype=torch.bool)
    first[0], first[3, 1], first[6, 2], first[5:, 4] = True, True, True, True
    film, time = films(first)
    for _ in range(20):
        positive = drawn_positive(film, time, 5, reach)
        known = (positive >= 0).nonzero()[:, 0]
        assert (film[positive[known]] == film[known]).all()
        apart = (time[positive[known]] - time[known]).abs()
        assert apart.min() >= 1
        assert apart.max() <= reach
    # Column 2 ends with a video of one frame, column 4 with two: these frames have no positive.
    alone = {int(i) for i in (positive < 0).nonzero()[:, 0]}
    assert {6 * 5 + 2, 5 * 5 + 4, 6 * 5 + 4} <= alone
    if reach == 1:
        assert len(alone) == 3


def test_what_it_refuses():
    with pytest.raises(ValueError, match="reach 3 frames and negatives begin beyond 2"):
        TimeContrastive(small(), reach=3, margin=2)
    rows = torch.zeros(2, 3, 16, 16, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="need rows"):
        TimeContrastive(small(), reach=2).loss({"obs": {"rgb": rows}})
    with pytest.raises(ValueError, match="need rows"):
        TimeContrastive(small()).loss({"obs": {"rgb": rows[0]}})


def sliding(rng, frames, count):
    """A white bar that moves over a wall of random colour: rows (T, B, 16, 16, 3), places (T, B)."""
    place = 3 + 10 * rng.random(count) + np.cumsum(rng.uniform(-1.5, 1.5, (frames, count)), 0)
    place = 3 + np.abs((place - 3) % 20 - 10)
    colour = rng.integers(0, 200, (count, 1, 1, 3))
    bar = np.clip(2.5 - np.abs(np.arange(16) - place[..., None]), 0, 1)[:, :, None, :, None]
    pictures = np.broadcast_to(colour * (1 - bar) + 255 * bar, (frames, count, 16, 16, 3))
    return torch.from_numpy(pictures.astype(np.uint8)), place


def told(method, rows, place):
    """Difference of far and near distances within a video, in standard deviations of all its distances."""
    with torch.no_grad():
        tokens = method({"rgb": rows}).flatten(2).transpose(0, 1)  # (B, T, D)
    apart = (tokens[:, :, None] - tokens[:, None]).square().mean(-1).numpy()
    moved = np.abs(place.T[:, :, None] - place.T[:, None])
    far, near = apart[moved > 4], apart[(moved > 0) & (moved < 1)]
    return (far.mean() - near.mean()) / apart.std()


def test_the_moments_of_a_film_come_apart():
    """After training, the position of the bar has more influence: far places are farther, near ones nearer."""
    rng = np.random.default_rng(0)
    method, (rows, place) = TimeContrastive(small(), reach=1, margin=2), sliding(rng, 12, 10)
    before = told(method, rows, place)
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for _ in range(30):
        loss, numbers = method.loss({"obs": {"rgb": sliding(rng, 8, 8)[0]}})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert told(method, rows, place) > before + 0.5, (before, told(method, rows, place))
    assert {"nearest_is_positive", "effective_rank", "embedding_std"} < set(numbers)
