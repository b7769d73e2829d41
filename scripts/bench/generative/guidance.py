"""Guidance: what it gains in class and loses in spread, on two overlapping classes and on digits."""

import numpy as np
import torch
from torch import Tensor

from embodia.perception.generative.denoisers.conditioning import ClassEmbedding
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.guidance import by_gradient, clipped
from embodia.perception.generative.diffusion.noisy_classifier import NoisyClassifier
from embodia.perception.generative.diffusion.samplers import DDIM
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.generative.toy_densities import overlapping_classes
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded, trained

CLASSES = overlapping_classes()
SCALES = (1.0, 2.0, 3.0, 6.0)
LIMIT = 3.0
"""Of predicted data; 99.9 % of the data lie within it."""


def draw(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
    """Points of both classes, and their class."""
    label = torch.from_numpy(rng.integers(0, 2, n))
    points = [law.sample(n, seeded(int(rng.integers(2**31)))) for law in CLASSES]
    return {"x": torch.where(label[:, None] == 1, points[1], points[0]), "condition": label}


def overlapping(seed: int, budget: Budget) -> Numbers:
    """Share of samples of class 1 on its side, and their spread, at several scales of both kinds of guidance."""
    torch.manual_seed(seed)
    schedule = cosine(100)
    model = Diffusion(MLPDenoiser((2,), 64, 2, ClassEmbedding(2, 64)), (2,), schedule, "v", drop=0.15)
    trained(model, draw, budget.steps(2000), seed)
    guides = {}
    for name, noisy in (("classifier", True), ("clean classifier", False)):
        torch.manual_seed(seed)
        guides[name] = NoisyClassifier(MLPDenoiser((2,), 64, 2, outputs=2), schedule, noisy)
        trained(guides[name], draw, budget.steps(800), seed)
    n = budget.samples(2000)
    label = torch.ones(n, dtype=torch.long)
    numbers: Numbers = {}
    points = {}
    for scale in SCALES:
        x = model.sample(n, label, seeded(seed), sampler=DDIM(50), guidance=scale)
        numbers |= {f"accuracy w={scale:g}": on_its_side(x), f"spread w={scale:g}": x[:, 0].std().item()}
        points[f"w{scale:g}"] = x
    for name, guide in guides.items():
        predict = clipped(by_gradient(model.predictor(), schedule, guide.log_prob(label)), schedule, LIMIT)
        x = model.sample(n, None, seeded(seed), sampler=DDIM(50), predict=predict)
        numbers |= {f"accuracy {name}": on_its_side(x), f"spread {name}": x[:, 0].std().item()}
    budget.keep(f"guidance-{seed}", **points)
    return numbers | {"accuracy of data": on_its_side(CLASSES[1].sample(20_000, seeded(seed)))}


def on_its_side(x: Tensor) -> float:
    return (x[:, 0] > 0).float().mean().item()


def digits(seed: int, budget: Budget) -> Numbers:
    """Digits of 8x8 pixels: class accuracy by the nearest of the real digits, and the spread within classes."""
    x, label, held, held_label = load_digits(seed)
    torch.manual_seed(seed)
    model = Diffusion(
        MLPDenoiser((1, 8, 8), 256, 3, ClassEmbedding(10, 256)), (1, 8, 8), cosine(200), "v", 0.15, limit=1.0
    )

    def batch(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rng.integers(0, len(x), n))
        return {"x": x[chosen], "condition": label[chosen]}

    trained(model, batch, budget.steps(2500), seed, batch=128, rate=1e-3)
    wanted = torch.arange(budget.samples(1000)) % 10
    numbers = {"digits of data": nearest_accuracy(held, held_label, x, label)}
    for scale in (1.0, 2.0, 4.0):
        drawn = model.sample(len(wanted), wanted, seeded(seed), sampler=DDIM(50), guidance=scale)
        numbers[f"digits accuracy w={scale:g}"] = nearest_accuracy(drawn, wanted, x, label)
        numbers[f"digits variance w={scale:g}"] = within_class_variance(drawn, wanted)
        budget.keep(f"digits-{seed}-w{scale:g}", x=drawn[:80])
    return numbers


def load_digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(train pictures (n, 1, 8, 8) of -1 to 1, their labels, test pictures, their labels), 70/30."""
    from sklearn.datasets import load_digits as load

    found = load()
    order = torch.randperm(len(found.images), generator=seeded(seed))
    x = torch.from_numpy(found.images).float()[order, None] / 8 - 1
    label = torch.from_numpy(found.target).long()[order]
    cut = int(0.7 * len(x))
    return x[:cut], label[:cut], x[cut:], label[cut:]


def nearest_accuracy(x: Tensor, label: Tensor, train: Tensor, train_label: Tensor) -> float:
    """Share of x whose nearest training picture is of its class."""
    nearest = torch.cdist(x.flatten(1), train.flatten(1)).argmin(1)
    return (train_label[nearest] == label).float().mean().item()


def within_class_variance(x: Tensor, label: Tensor) -> float:
    return torch.stack([x[label == each].var(0).mean() for each in label.unique()]).mean().item()
