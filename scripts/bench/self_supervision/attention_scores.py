"""Attention of a ViT's class token to the object: DINO on images of one sprite, beside the same ViT untrained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.perception.encoders.attention_map import attention_pictures, mass_mask
from embodia.perception.encoders.vit import ViT
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.pictures.sprites import sprites
from embodia.perception.scores.clustering_scores import mask_iou
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.dino import DINO, DINOConfig
from embodia.perception.self_supervision.views import Views

CHANGES = Augmentation(scale=(0.4, 1.0), colour=0.2, brightness=0.1, grey=0.1)
SETTINGS = DINOConfig(prototypes=256, momentum=0.99, local_scale=(0.25, 0.5), local_size=32, frozen_updates=50)
TRAINING = FitConfig(steps=1_200, batch_size=64, learning_rate=5e-4, device="cpu")
TRAIN, TEST = 4_000, 400  # images


def one_sprite(n: int, seed: int) -> Scenes:
    return sprites(n, seed, (1, 1), (0.08, 0.25))


def vit(scenes: Scenes) -> ViT:
    return ViT(scenes.space(), patch_size=8, dim=64, depth=3, num_heads=4)


def attention(steps: int, out: Path, training: FitConfig = TRAINING) -> dict[str, Any]:
    """IoU of the best head after `steps` updates of DINO (0: the untrained ViT). Also writes an image to `out`."""
    seed_all(0)
    train, test = one_sprite(TRAIN, 0), one_sprite(TEST, 1)
    encoder = vit(train)
    if steps:
        settings = replace(SETTINGS, steps=steps)
        learner = DINO(encoder, Views(CHANGES), settings)
        pictures = RandomBatches(
            lambda rng, n: {"obs": {"image": train.images[rng.integers(len(train.images), size=n)]}}
        )
        fit(learner, pictures, replace(training, steps=steps))
        kept = learner.kept
        assert isinstance(kept, ViT)
        encoder = kept
    encoder.eval()
    drawn = attention_pictures(encoder, {"image": torch.from_numpy(test.images[:8])})
    name = f"attention-{steps}.png"
    cv2.imwrite(str(out / name), np.concatenate(list(drawn.repeat(2, 1).repeat(2, 2)))[:, :, ::-1])
    return {"iou": best_head(encoder, test), "steps": steps, "picture": name}


@torch.no_grad()
def best_head(encoder: ViT, scenes: Scenes, mass: float = 0.6) -> float:
    """IoU of the head's attention mass with the object. The head is chosen on one half and scored on the other."""
    images, _ = encoder.images({"image": torch.from_numpy(scenes.images)})
    found = mass_mask(encoder.attention(images), mass).float()
    whole = F.interpolate(found, scenes.images.shape[1:3], mode="nearest").bool().numpy()  # (N, heads, H, W)
    truth = scenes.labels > 0
    iou = np.stack([mask_iou(heads, one[None])[:, 0] for heads, one in zip(whole, truth)])  # (N, heads)
    half = len(iou) // 2
    return float(iou[half:, iou[:half].mean(0).argmax()].mean())
