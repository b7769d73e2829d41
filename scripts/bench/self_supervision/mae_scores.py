"""What a masked autoencoder is judged by: how well it paints what is hidden, and what fine-tuning gains by it."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import griddata
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.mae import MAE, normalised

FEW, UPDATES, BATCH, RATE = 2_000, 1_000, 100, 1e-3  # labels, and how they are fine-tuned on


@torch.no_grad()
def painting(mae: MAE, pictures: Tensor, seed: int = 0) -> dict[str, float]:
    """Mean squared error on hidden patches of `pictures` (n, H, W, C), each patch normalised: 1 for its mean.

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
    """(N, C, H, W): linear between visible pixels, and outside all of them the nearest one."""
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


def fine_tuned(
    encoder: ImageEncoder,
    pictures: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    changes: Augmentation,
    updates: int = UPDATES,
) -> float:
    """Test accuracy after all of a copy of the encoder learnt a few labels."""
    learner = copy.deepcopy(encoder).train()
    head = nn.Linear(learner.dim, int(labels.max()) + 1)
    optimizer = torch.optim.AdamW([*learner.parameters(), *head.parameters()], RATE, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, updates)
    key = learner.keys[0]
    for _ in range(updates):
        chosen = torch.randint(len(labels), (BATCH,))
        images = changes(learner.images({key: pictures[chosen]})[0])
        loss = F.cross_entropy(head(learner.summary(images)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    learner.eval()
    with torch.no_grad():
        found = torch.cat([head(learner.summary(learner.images({key: part})[0])) for part in test.split(256)])
    return (found.argmax(1) == test_labels).float().mean().item()
