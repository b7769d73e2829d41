"""DiffusionDet: detection as denoising of boxes (Chen et al. 2023). Any number of boxes and steps when detecting.

In training, the objects' boxes, filled up with random ones, are diffused, and a decoder learns to recover them from
the image's features inside the noisy boxes. Detection starts from random boxes. The noise schedule and the sampler are
those of `perception.generative.diffusion`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Obs
from embodia.perception.generative.denoisers.conditioning import TimeEmbedding
from embodia.perception.generative.diffusion.parametrization import Prediction, of_x0
from embodia.perception.generative.diffusion.samplers import DDIM, State, final, sample_path
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.generative.noise import noise_like, normal, per_sample
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.boxes import to_centres, to_corners
from embodia.perception.structured.detection.detected import detected
from embodia.perception.structured.detection.feature_map import FeatureMap
from embodia.perception.structured.detection.refine_head import RefineHead
from embodia.perception.structured.detection.set_loss import set_loss


@dataclass(frozen=True)
class DiffusionDetConfig:
    """DiffusionDet. The paper has 6 heads of width 256 and 300 boxes."""

    dim: int = 64
    """Number of channels of the feature map, and width of a box's token."""
    stride: int = 4
    """Pixels per cell: 4, 8 or 16."""
    width: int = 16
    """Number of channels of the first convolution."""
    stages: int = 4
    """Number of convolution stages, each of which halves the resolution."""
    heads: int = 3
    """Number of decoder heads; each corrects the boxes of the one before."""
    pooled: int = 5
    """Cells across and down of the features of a box."""
    train_boxes: int = 40
    """Number of boxes per image in training."""
    boxes: int = 40
    """Number of boxes per image when detecting."""
    steps: int = 4
    """Number of sampling steps."""
    signal: float = 2.0
    """Scale of the boxes' coordinates relative to the noise: they lie between -signal and signal."""
    renew: float = 0.5
    """Between two steps, boxes with lower scores are replaced by random ones; 0 replaces none."""
    lowest: float = 0.05
    """Smallest score of a detection."""
    overlap: float = 0.5
    """Largest IoU of two detections of a class."""
    seed: int = 0
    """Random seed of the boxes that detection starts from."""


class DiffusionDet(Detector):
    """Denoises random boxes into detections. Arguments and errors as in `Detector`."""

    scale: Tensor

    def __init__(self, space: spaces.Dict, categories: Sequence[str], config: DiffusionDetConfig | None = None):
        super().__init__(space, categories)
        self.config = c = config or DiffusionDetConfig()
        self.features = FeatureMap(c.dim, c.stride, c.width, c.stages)
        self.time = TimeEmbedding(c.dim)
        self.heads = nn.ModuleList(RefineHead(c.dim, len(categories), c.pooled, c.stride) for _ in range(c.heads))
        self.schedule = cosine(1000)
        height, width = self.size
        self.register_buffer("scale", torch.tensor([width, height, width, height], dtype=torch.float32), False)

    def encode(self, boxes: Tensor) -> Tensor:
        """Return the signal (*B, 4), from -signal to signal, of boxes (*B, 4) in pixels."""
        shares = to_centres(boxes / self.scale)
        return ((2 * shares - 1) * self.config.signal).clamp(-self.config.signal, self.config.signal)

    def decode(self, x: Tensor) -> Tensor:
        """Return the boxes (*B, 4) in pixels of a noisy signal (*B, 4)."""
        limit = self.config.signal
        shares = (x.clamp(-limit, limit) / limit + 1) / 2
        shares = torch.cat([shares[..., :2], shares[..., 2:].clamp(min=1e-3)], -1)
        return to_corners(shares) * self.scale

    def refine(self, features: Tensor, boxes: Tensor, time: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return logits (B, N, C) and boxes (B, N, 4) after each head, from noisy boxes and times (B,) from 0 to 1."""
        embedded, tokens, found = self.time(time), None, []
        for head in self.heads:
            logits, boxes, tokens = head(features, boxes.detach(), tokens, embedded)
            found.append((logits, boxes))
        return found

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.features(self.images(batch["obs"]))
        x0 = self.encode(self.padded(batch["boxes"], batch["labels"]))
        t = torch.randint(self.schedule.steps, (len(x0),), device=x0.device)
        alpha, sigma = (per_sample(each, x0) for each in self.schedule.at(t))
        boxes = self.decode(alpha * x0 + sigma * torch.randn_like(x0))
        found = self.refine(features, boxes, self.schedule.time(t))
        losses = [set_loss(*each, batch["boxes"], batch["labels"], self.scale) for each in found]
        total = torch.stack([loss for loss, _ in losses]).sum() / len(losses)
        return total, losses[-1][1]

    def padded(self, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the objects' boxes (B, N, 4), filled up with random ones around the middle of the image."""
        n = max(self.config.train_boxes, boxes.shape[1])
        noise = torch.randn(len(boxes), n, 4, device=boxes.device) / 6 + 0.5
        random = to_corners(torch.cat([noise[..., :2], noise[..., 2:].clamp(min=1e-3)], -1)) * self.scale
        random[:, : boxes.shape[1]] = torch.where((labels >= 0)[..., None], boxes, random[:, : boxes.shape[1]])
        return random

    def forward(self, obs: Obs) -> list[Detections]:
        return self.detect(obs)

    @torch.no_grad()
    def detect(
        self,
        obs: Obs,
        steps: int | None = None,
        boxes: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[Detections]:
        """Return the detections of each image.

        Args:
            obs: observations, as in `forward`.
            steps: number of sampling steps; by default as configured.
            boxes: number of boxes per image; by default as configured.
            generator: of the random boxes; by default one with the configured seed.
        """
        c = self.config
        features = self.features(self.images(obs))
        generator = generator or torch.Generator().manual_seed(c.seed)
        noise = normal((len(features), boxes or c.boxes, 4), generator, features.device)
        found: list[tuple[Tensor, Tensor]] = []

        def predict(x: Tensor, t: int) -> Prediction:
            time = self.schedule.time(torch.full((len(x),), t, device=x.device))
            logits, corrected = self.refine(features, self.decode(x), time)[-1]
            found.append((logits.sigmoid(), corrected))
            return of_x0(self.encode(corrected), x, self.schedule.alphas[t], self.schedule.sigmas[t])

        def renewed(state: State) -> State:
            stays = found[-1][0].amax(-1, keepdim=True) >= c.renew
            return state._replace(x=torch.where(stays, state.x, noise_like(state.x, generator)))

        sampler = DDIM(steps or c.steps, eta=1.0, spacing="trailing")
        final(sample_path(predict, self.schedule, sampler, noise, generator, renewed))
        scores, corrected = (torch.cat(each, 1) for each in zip(*found))
        return detected(scores, corrected, self.size, c.lowest, c.overlap)
