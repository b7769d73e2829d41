"""Recurrent instances: windows, objects from maps, the monotone score, and learning to segment two squares."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.pictures.rosettes import rosettes
from embodia.perception.scores.segmentation_scores import symmetric_best_dice
from embodia.perception.structured.segmentation import BadLabels
from embodia.perception.structured.segmentation.gaussian_window import read, window_filters, write
from embodia.perception.structured.segmentation.recurrent_instances import (
    RecurrentInstances,
    monotone_score_loss,
    objects_of,
    soft_iou,
)

NAMES = ("soil", "leaf", "stone")


def test_a_window_reads_its_box_and_writes_it_back():
    image = torch.zeros(1, 1, 48, 48)
    image[..., 8:24, 20:36] = 1
    box = torch.tensor([[16 / 48, 28 / 48, 24 / 48, 24 / 48]])
    filters = window_filters(box, 16, 48, 48)
    window = read(image, *filters)
    assert window[0, 0, 5:11, 5:11].min() > 0.95
    assert window[0, 0, [0, -1]].max() < 0.05
    again = write(window, *filters)
    assert soft_iou(again, image).item() > 0.8
    assert write(torch.ones_like(window), *filters)[..., 36:, :].abs().max() < 1e-3


def test_windows_are_differentiable_in_their_boxes():
    images = torch.rand(1, 2, 12, 12, dtype=torch.float64)
    box = torch.tensor([[0.5, 0.4, 0.5, 0.6]], dtype=torch.float64, requires_grad=True)

    def through(box):
        filters = window_filters(box, 4, 12, 12)
        return write(read(images, *filters), *filters)

    assert torch.autograd.gradcheck(through, box)


def test_objects_follow_from_the_maps():
    labels, instances = torch.zeros(2, 6, 8, dtype=torch.int64), torch.zeros(2, 6, 8, dtype=torch.int64)
    instances[0, 1:3, 2:6], labels[0, 1:3, 2:6] = 7, 2
    instances[0, 4:6, 0:1], labels[0, 4:6, 0:1] = 3, 1
    true = objects_of(labels, instances, 5)
    assert true.real.tolist() == [[True, True], [False, False]]
    assert true.categories[0].tolist() == [2, 1]
    torch.testing.assert_close(
        true.boxes[0], torch.tensor([[2 / 6, 4 / 8, 2 / 6, 4 / 8], [5 / 6, 0.5 / 8, 2 / 6, 1 / 8]])
    )
    assert true.masks.sum((2, 3)).tolist() == [[8, 2], [0, 0]]
    assert objects_of(labels, instances, 1).categories.tolist() == [[2], [1]]
    assert objects_of(labels[1:], instances[1:], 5).real.shape == (1, 0)


def test_scores_that_fall_where_objects_end_have_no_loss():
    there = torch.tensor([[True, True, False]])
    assert monotone_score_loss(torch.tensor([[20.0, 20.0, -20.0]]), there) < 1e-6
    scores = torch.tensor([[-5.0, 5.0, -5.0]])
    expected = (2 * np.log1p(np.exp(5)) + np.log1p(np.exp(-5))) / 3
    assert monotone_score_loss(scores, there).item() == pytest.approx(expected)


def squares(n, seed, size=24):
    """Images of one or two squares of one colour on black."""
    rng = np.random.default_rng(seed)
    images, instances = np.zeros((n, size, size, 3), np.uint8), np.zeros((n, size, size), np.int64)
    for i in range(n):
        for k, left in enumerate(rng.permutation([2, 14])[: rng.integers(1, 3)], start=1):
            top = rng.integers(2, 14)
            instances[i, top : top + 8, left : left + 8] = k
    images[instances > 0] = 200
    return images, instances


def test_it_learns_to_segment_one_object_after_the_other():
    images, instances = squares(64, 0)
    space = spaces.Dict({"image": spaces.Box(0, 255, images.shape[1:], np.uint8)})

    def draw(rng, n):
        i = rng.integers(len(images), size=n)
        found = torch.from_numpy(instances[i])
        return {"obs": {"image": torch.from_numpy(images[i])}, "instances": found, "labels": (found > 0).long()}

    torch.manual_seed(0)
    model = RecurrentInstances(space, NAMES, width=8, window=8, steps=200)
    config = FitConfig(steps=250, batch_size=16, learning_rate=5e-3, warmup=20, clip=1.0)
    fit(model, RandomBatches(draw, 0), config, logger=Logger(console=False))
    assert model.forced == 0
    found = model({"image": torch.from_numpy(images)})
    dice = [symmetric_best_dice(*each) for each in zip(instances, found.instances.numpy(), strict=True)]
    counts = found.instances.amax((1, 2)).numpy()
    assert np.mean(dice) > 0.8
    assert (counts == instances.max((1, 2))).mean() > 0.9
    assert ((found.labels > 0) == (found.instances > 0)).all()


def test_images_without_objects_can_be_learned_and_segmented():
    scenes = rosettes(2, 0, 24)
    model = RecurrentInstances(scenes.space(), NAMES, width=8)
    obs, nothing = {"image": torch.from_numpy(scenes.images)}, torch.zeros(2, 24, 24, dtype=torch.int64)
    loss, numbers = model.loss({"obs": obs, "labels": nothing, "instances": nothing})
    assert loss.requires_grad
    assert set(numbers) == {"score_loss"}


def test_instances_are_needed():
    scenes = rosettes(2, 0, 24)
    model = RecurrentInstances(scenes.space(), NAMES, width=8)
    labels = torch.from_numpy(scenes.labels.clip(max=1))
    with pytest.raises(BadLabels, match="needs instance maps"):
        model.loss({"obs": {"image": torch.from_numpy(scenes.images)}, "labels": labels})
