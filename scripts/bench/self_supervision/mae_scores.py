"""Scores of a masked autoencoder: its reconstruction of hidden patches, and the accuracy after fine-tuning."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import griddata
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.mae import MAE, normalised

FEW, UPDATES = 2_000, 1_000  # labels and updates of fine-tuning
TUNING = FitConfig(
    batch_size=100, schedule="one_cycle", weight_decay=0.05, decay_all=True, clip=None, device="cpu", log_every=100
)


@torch.no_grad()
def painting(mae: MAE, pictures: Tensor, seed: int = 0) -> dict[str, float]:
    """Mean squared error on hidden patches of images (n, H, W, C). Patches are normalised: their mean has error 1.

    `masked_mse` is the autoencoder's, `interpolated_mse` that of linear interpolation between the visible pixels.
    """
    mae.eval()
    images, _ = mae.encoder.images({mae.keys[0]: pictures})
    torch.manual_seed(seed)
    order = mae.shuffle(len(images), images.device)
    truth = normalised(mae.patches(images))
    hidden = order[:, mae.visible :, None].expand(-1, -1, truth.shape[2])
    painted = {"masked_mse": mae.reconstruct(images, order)[0]}
    painted["interpolated_mse"] = normalised(mae.patches(interpolated(mae, images, order)))
    return {name: F.mse_loss(each.gather(1, hidden), truth.gather(1, hidden)).item() for name, each in painted.items()}


def interpolated(mae: MAE, images: Tensor, order: Tensor) -> Tensor:
    """Interpolate images (N, C, H, W) linearly between visible pixels; outside them, take the nearest visible pixel."""
    size, (rows, columns) = mae.encoder.patch_size, mae.encoder.grid
    seen = torch.zeros(len(images), rows * columns, dtype=torch.bool).scatter(1, order[:, : mae.visible], True)
    pixels = seen.view(-1, rows, columns).repeat_interleave(size, 1).repeat_interleave(size, 2)
    whole = np.stack(np.meshgrid(np.arange(rows * size), np.arange(columns * size), indexing="ij"), -1)
    filled = torch.empty_like(images)
    for i, (image, mask) in enumerate(zip(images.permute(0, 2, 3, 1).numpy(), pixels.numpy())):
        places, values = whole[mask], image[mask]
        linear = griddata(places, values, whole, "linear")
        nearest = griddata(places, values, whole, "nearest")
        filled[i] = torch.from_numpy(np.where(np.isnan(linear), nearest, linear)).permute(2, 0, 1)
    return filled


class Classifier(nn.Module):
    """An encoder with a linear classifier."""

    def __init__(self, encoder: ImageEncoder, classes: int, changes: Augmentation):
        super().__init__()
        self.encoder, self.head, self.changes = encoder, nn.Linear(encoder.dim, classes), changes

    def forward(self, pictures: Tensor, changed: bool = False) -> Tensor:
        """Images (N, H, W, C) to logits (N, classes)."""
        images, _ = self.encoder.images({self.encoder.keys[0]: pictures})
        return self.head(self.encoder.summary(self.changes(images) if changed else images))

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        return F.cross_entropy(self(batch["pictures"], changed=True), batch["labels"]), {}


def fine_tuned(
    encoder: ImageEncoder,
    pictures: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    changes: Augmentation,
    updates: int = UPDATES,
) -> float:
    """Test accuracy after fine-tuning a copy of the encoder on a few labels."""
    learner = Classifier(copy.deepcopy(encoder), int(labels.max()) + 1, changes)

    def draw(_: np.random.Generator, n: int) -> dict[str, Tensor]:
        chosen = torch.randint(len(labels), (n,))
        return {"pictures": pictures[chosen], "labels": labels[chosen]}

    fit(learner, RandomBatches(draw), replace(TUNING, steps=updates))
    with torch.no_grad():
        found = torch.cat([learner(part) for part in test.split(256)])
    return (found.argmax(1) == test_labels).float().mean().item()
