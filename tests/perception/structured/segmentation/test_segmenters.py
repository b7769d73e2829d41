"""Segmenters: the CRF layer against finite differences, networks on a toy set, wrong labels."""

from functools import partial

import numpy as np
import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.pictures.noisy_regions import noisy_regions
from embodia.perception.structured.segmentation import IGNORED, BadLabels
from embodia.perception.structured.segmentation.crf_rnn import CRFRNN
from embodia.perception.structured.segmentation.dense_crf import DenseCRFConfig, refine
from embodia.perception.structured.segmentation.encoder_decoder import UNet
from embodia.perception.structured.segmentation.pixel_segmenter import connected, crf_rnn, fcn, unet

NAMES = ("background", "left", "right")
CONFIG = DenseCRFConfig(appearance_weight=0.8, appearance_sigma=2.0, colour_sigma=0.4, smoothness_weight=0.3)


def layer(fast=False):
    torch.manual_seed(0)
    made = CRFRNN(3, CONFIG, train_iterations=3, fast=fast).double()
    with torch.no_grad():
        for weight in made.parameters():  # away from the Potts model, where matrices commute
            weight += 0.02 * torch.randn_like(weight)
    return made


def example():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(2, 3, 4, 4))), torch.from_numpy(rng.uniform(0, 1, (2, 3, 4, 4)))


@pytest.mark.parametrize("fast", [False, True])
def test_gradients_of_the_layer_equal_finite_differences(fast):
    crf, (logits, images) = layer(fast), example()
    weights = tuple(crf.parameters())

    def run(logits, *weights):
        names = [name for name, _ in crf.named_parameters()]
        return torch.func.functional_call(crf, dict(zip(names, weights, strict=True)), (logits, images))

    assert torch.autograd.gradcheck(run, (logits.requires_grad_(), *weights), atol=1e-6, rtol=1e-4)


def test_the_layer_starts_as_the_fixed_crf():
    logits, images = example()
    crf = CRFRNN(3, CONFIG).double().eval()
    torch.testing.assert_close(crf(logits, images), refine(logits, images, CONFIG))


def test_no_gradient_flows_to_the_image():
    logits, images = example()
    layer()(logits.requires_grad_(), images.requires_grad_()).sum().backward()
    assert images.grad is None
    assert logits.grad.abs().sum() > 0


def batches(scenes):
    def draw(rng, n):
        i = rng.integers(len(scenes.images), size=n)
        return {"obs": {"image": torch.from_numpy(scenes.images[i])}, "labels": torch.from_numpy(scenes.labels[i])}

    return RandomBatches(draw, 0)


@pytest.mark.parametrize("make", [partial(unet, width=8), partial(fcn, width=8), partial(crf_rnn, width=8)])
def test_segmenters_learn(make):
    """Label a pixel by its colour: 200 updates leave chance (1/3) far behind."""
    scenes = noisy_regions(32, 0, 16)
    scenes.images[:] = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)[scenes.labels]
    torch.manual_seed(0)
    model = make(scenes.space(), NAMES)
    config = FitConfig(steps=100, batch_size=8, learning_rate=5e-3, warmup=10)
    fit(model, batches(scenes), config, logger=Logger(console=False))
    with torch.no_grad():
        found = model({"image": torch.from_numpy(scenes.images)}).labels.numpy()
    assert (found == scenes.labels).mean() > 0.8


@pytest.mark.parametrize("size", [(16, 16), (17, 30)])
def test_a_unet_takes_any_size(size):
    images = torch.rand(2, 3, *size)
    assert UNet(3, 5, 8, 3)(images).shape == (2, 5, *size)
    assert UNet(3, 5, 8, 3, skips=False)(images).shape == (2, 5, *size)


def test_ignored_pixels_do_not_count():
    scenes = noisy_regions(2, 0, 16)
    model = fcn(scenes.space(), NAMES)
    obs, labels = {"image": torch.from_numpy(scenes.images)}, torch.from_numpy(scenes.labels)
    half = labels.clone()
    half[:, :8] = IGNORED
    other = half.clone()
    logits = model.logits(model.images(obs))
    expected = torch.nn.functional.cross_entropy(logits[:, :, 8:], labels[:, 8:])
    torch.testing.assert_close(model.loss({"obs": obs, "labels": other})[0], expected)
    nothing = model.loss({"obs": obs, "labels": torch.full_like(labels, IGNORED)})[0]
    assert nothing.item() == 0


def test_connected_parts_of_classes_are_instances():
    labels = np.array([[1, 1, 0, 1], [2, 2, 0, 1], [0, 0, 0, 0], [1, 0, 2, 0]])
    assert connected(labels).tolist() == [[1, 1, 0, 2], [4, 4, 0, 2], [0, 0, 0, 0], [3, 0, 5, 0]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((2, 16, 16), 3), r"label 3 is out of range: classes are 0 to 2, and -1 ignores"),
        (torch.full((2, 16, 16), -2), r"label -2 is out of range"),
        (torch.zeros(2, 15, 16, dtype=torch.int64), r"shape \(2, 15, 16\), but the images need \(2, 16, 16\)"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    scenes = noisy_regions(2, 0, 16)
    model = unet(scenes.space(), NAMES, 8)
    with pytest.raises(BadLabels, match=message):
        model.loss({"obs": {"image": torch.from_numpy(scenes.images)}, "labels": labels})


def test_what_cannot_be_segmented_is_refused():
    space = noisy_regions(1, 0, 16).space()
    with pytest.raises(BadLabels, match="needs a class beside the background; got background"):
        unet(space, ("background",))
    with pytest.raises(BadLabels, match="with pixels"):
        unet(type(space)({"image": type(space["image"])(0, 255, (0, 16, 3), np.uint8)}), NAMES)
