"""Probes of frozen features: linear classification, nearest neighbours and ridge regression."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder


def summaries(encoder: ImageEncoder, obs: Mapping[str, Any], batch: int = 256) -> Tensor:
    """Encode images (n, ...) as one vector each, (n, dim), in evaluation mode and in batches of `batch`."""
    return _read(encoder, encoder.summary, obs, batch)


def feature_maps(encoder: ImageEncoder, obs: Mapping[str, Any], batch: int = 256) -> Tensor:
    """Encode images (n, ...) as feature maps (n, rows, columns, dim). One row if the tokens do not form a square."""
    side = math.isqrt(encoder.num_tokens)
    rows = side if side**2 == encoder.num_tokens else 1
    return _read(encoder, encoder.encode, obs, batch).unflatten(1, (rows, -1))


@torch.no_grad()
def _read(encoder: ImageEncoder, how: Callable[[Tensor], Tensor], obs: Mapping[str, Any], batch: int) -> Tensor:
    before = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    found = []
    for start in range(0, len(next(iter(obs.values()))), batch):
        piece = {key: torch.as_tensor(value[start : start + batch], device=device) for key, value in obs.items()}
        found.append(how(encoder.images(piece)[0]).float().cpu())
    encoder.train(before)
    return torch.cat(found)


def principal_axes(pictures: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean (P,) and the first `count` principal axes (P, count) of images (n, ...) with P values each."""
    flat = pictures.flatten(1).float()
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))
    return mean, vectors[:, -count:].flip(1)  # eigh sorts in ascending order


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale both feature sets (N, D) by the mean and standard deviation of the training features."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    return (train - mean) / std, (test - mean) / std


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, decay: float = 1e-4, iterations: int = 200
) -> float:
    """Test accuracy of logistic regression on standardised features.

    Args:
        train: Training features (N, D).
        train_labels: Classes (N,) int64.
        test: Test features (M, D).
        test_labels: Classes (M,) int64.
        decay: Weight of the squared L2 norm of the weights.
        iterations: Maximum number of L-BFGS iterations.
    """
    train, test = standardise(train.float(), test.float())
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    linear = _logistic_regression(
        train, classes, lambda logits: F.cross_entropy(logits, train_labels), decay, iterations
    )
    return (linear(test).argmax(1) == test_labels).float().mean().item()


def _logistic_regression(
    features: Tensor, outputs: int, loss: Callable[[Tensor], Tensor], decay: float, iterations: int
) -> torch.nn.Linear:
    """Fit a linear layer from features (N, D) to logits (N, outputs), minimising loss + decay |weight|^2 by L-BFGS."""
    linear = torch.nn.Linear(features.shape[1], outputs, device=features.device)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        total = loss(linear(features)) + decay * linear.weight.square().sum()
        total.backward()
        return float(total.detach())

    optimizer.step(closure)
    return linear.requires_grad_(False)


def knn_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    standardised: bool = True,
) -> float:
    """Test accuracy of k nearest neighbours by cosine similarity, weighted by exp(cos / temperature) (Wu et al. 2018).

    The paper uses the raw features. `standardised` first scales each dimension to mean 0 and standard deviation 1.
    """
    train, test = train.float(), test.float()
    if standardised:
        train, test = standardise(train, test)
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    best, which = similarity.topk(min(k, len(train)), dim=1)
    votes = F.one_hot(train_labels[which]) * (best / temperature).exp()[..., None]
    return (votes.sum(1).argmax(1) == test_labels).float().mean().item()


def presence_probe(
    train: Tensor, train_present: Tensor, test: Tensor, test_present: Tensor, decay: float = 1e-3, iterations: int = 200
) -> Tensor:
    """Area under the ROC curve (C,) of predicting the presence of C object categories by logistic regression.

    0.5 is chance at any frequency of the category. NaN if the test set never or always shows it.

    Args:
        train: Training features (N, D).
        train_present: Presence (N, C) bool.
        test: Test features (M, D).
        test_present: Presence (M, C) bool.
        decay: Weight of the squared L2 norm of the weights.
        iterations: Maximum number of L-BFGS iterations.
    """
    train, test = standardise(train.float(), test.float())
    present = train_present.float()
    linear = _logistic_regression(
        train,
        present.shape[1],
        lambda logits: F.binary_cross_entropy_with_logits(logits, present),
        decay,
        iterations,
    )
    scores = linear(test)
    return torch.stack([area_under_roc(scores[:, c], test_present[:, c]) for c in range(scores.shape[1])])


def area_under_roc(scores: Tensor, present: Tensor) -> Tensor:
    """Probability that a positive example scores above a negative one, ties counting half; both (N,)."""
    yes, no = scores[present].double(), scores[~present].double().sort().values
    if len(yes) == 0 or len(no) == 0:
        return torch.tensor(float("nan"), dtype=torch.float64)
    below, to = torch.searchsorted(no, yes), torch.searchsorted(no, yes, right=True)
    return (below + to).double().mean() / (2 * len(no))


def ridge_probe(
    train: Tensor, train_values: Tensor, test: Tensor, test_values: Tensor, groups: Tensor | None = None
) -> Tensor:
    """R^2 (V,) on the test set of ridge regression from features (N, D) to values (N, V).

    Each value uses the regularisation weight of DECAYS with the smallest error in 4-fold cross-validation on the
    training set. `groups` (N,) keeps related rows (frames of one home) in the same fold: with related frames on both
    sides, every weight would look good.
    """
    train, test = standardise(train.double(), test.double())
    train_values, test_values = train_values.double(), test_values.double()
    part = (torch.arange(len(train)) if groups is None else torch.unique(groups, return_inverse=True)[1]) % 4
    left = torch.zeros(len(DECAYS), train_values.shape[1], dtype=torch.float64)
    for out in range(4):
        fit, held = part != out, part == out
        if fit.any() and held.any():
            predicted = _ridge(train[fit], train_values[fit], train[held])
            left += (predicted - train_values[held]).square().sum(1)
    best = _ridge(train, train_values, test)[left.argmin(0), :, torch.arange(left.shape[1])].T
    spread = (test_values - test_values.mean(0)).square().sum(0)
    return 1 - (best - test_values).square().sum(0) / spread


DECAYS = tuple(10.0**power for power in range(-5, 4))


def _ridge(x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """Predictions (decays, M, V) at `test` (M, D) of ridge regression from x (N, D) to y (N, V), both centred."""
    centre, mean = x.mean(0), y.mean(0)
    x, test = x - centre, test - centre
    spectrum, axes = torch.linalg.eigh(x.T @ x / len(x))
    seen = axes.T @ (x.T @ (y - mean) / len(x))
    weight = [seen / (spectrum.clamp(min=0) + decay)[:, None] for decay in DECAYS]
    return (test @ axes) @ torch.stack(weight) + mean


def correlation(before: Tensor, after: Tensor, reach: int = 1) -> Tensor:
    """Correlation of two feature maps (N, rows, columns, C): (N, rows * columns * (2 reach + 1)^2).

    It is the cosine of every location of the first map with the locations up to `reach` away in the second, 0 beyond
    the border (the correlation layer of FlowNet, Dosovitskiy et al. 2015). These products show ego-motion, which is not
    a linear function of the two frames.
    """
    mean = torch.cat([before, after]).mean((0, 1, 2))
    before, after = (F.normalize(each - mean, dim=-1).permute(0, 3, 1, 2) for each in (before, after))
    rows, columns = before.shape[2:]
    wide = F.pad(after, (reach,) * 4)
    shifts = [(i, j) for i in range(2 * reach + 1) for j in range(2 * reach + 1)]
    return torch.cat([(before * wide[:, :, i : i + rows, j : j + columns]).sum(1).flatten(1) for i, j in shifts], 1)
