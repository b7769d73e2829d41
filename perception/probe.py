"""What frozen features know: linear probe, nearest neighbours, ridge regression."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.image_encoder import ImageEncoder


@torch.no_grad()
def summaries(encoder: ImageEncoder, obs: Mapping[str, Any], batch: int = 256) -> Tensor:
    """Pictures (n, ...), arrays or tensors, in one vector each, (n, dim), read `batch` at a time in evaluation mode."""
    before = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    found = []
    for start in range(0, len(next(iter(obs.values()))), batch):
        piece = {key: torch.as_tensor(value[start : start + batch], device=device) for key, value in obs.items()}
        found.append(encoder.summary(encoder.images(piece)[0]).float().cpu())
    encoder.train(before)
    return torch.cat(found)


def principal_axes(pictures: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (P,) and the first `count` principal axes (P, count) of pictures (n, ...) of P numbers each."""
    flat = pictures.flatten(1).float()
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))
    return mean, vectors[:, -count:].flip(1)  # eigh sorts upwards


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, D) shifted and scaled by the training features' mean and deviation."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    return (train - mean) / std, (test - mean) / std


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, decay: float = 1e-4, iterations: int = 200
) -> float:
    """Test accuracy of logistic regression on standardised features (N, D), labels (N,), by L-BFGS."""
    train, test = standardise(train.float(), test.float())
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    linear = torch.nn.Linear(train.shape[1], classes, device=train.device)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(linear(train), train_labels) + decay * linear.weight.square().sum()
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    with torch.no_grad():
        return (linear(test).argmax(1) == test_labels).float().mean().item()


def knn_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    standardised: bool = True,
) -> float:
    """Test accuracy of k nearest neighbours by cosine, each voting exp(cos / temperature) (Wu et al. 2018).

    The paper takes the features as they are; `standardised` first gives every dimension mean 0 and deviation 1.
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
    """Area under the ROC curve of each thing, (C,): logistic regression from features (N, D) to presence (N, C) bool.

    0.5 is chance however rare a thing is; NaN where the test set never or always shows it.
    """
    train, test = standardise(train.float(), test.float())
    linear = torch.nn.Linear(train.shape[1], train_present.shape[1])
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(linear(train), train_present.float())
        loss = loss + decay * linear.weight.square().sum()
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    with torch.no_grad():
        scores = linear(test)
    return torch.stack([area_under_roc(scores[:, c], test_present[:, c]) for c in range(scores.shape[1])])


def area_under_roc(scores: Tensor, present: Tensor) -> Tensor:
    """Probability that a picture with the thing scores above one without, ties counting half; both (N,)."""
    yes, no = scores[present].double(), scores[~present].double().sort().values
    if len(yes) == 0 or len(no) == 0:
        return torch.tensor(float("nan"), dtype=torch.float64)
    below, to = torch.searchsorted(no, yes), torch.searchsorted(no, yes, right=True)
    return (below + to).double().mean() / (2 * len(no))


def ridge_probe(train: Tensor, train_values: Tensor, test: Tensor, test_values: Tensor, decay: float = 1e-3) -> Tensor:
    """R^2 of each value on the test set, (V,): ridge regression from features (N, D) to values (N, V)."""
    train, test = standardise(train.double(), test.double())
    mean = train_values.double().mean(0)
    gram = train.T @ train / len(train) + decay * torch.eye(train.shape[1], dtype=torch.float64, device=train.device)
    weight = torch.linalg.solve(gram, train.T @ (train_values.double() - mean) / len(train))
    left = (test_values.double() - mean - test @ weight).square().sum(0)
    return 1 - left / (test_values.double() - test_values.double().mean(0)).square().sum(0)
