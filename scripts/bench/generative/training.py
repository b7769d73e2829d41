"""What the parts of this bench share: training on drawn points, generators, kept arrays, rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.generative.toy_densities import GaussianMixture

Draw = Callable[[np.random.Generator, int], dict[str, Tensor]]
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """How large a measurement is."""

    smoke: bool = False
    """A tiny budget, to see that everything runs."""
    arrays: Path | None = None
    """Folder of the samples that pictures are drawn from; None keeps none."""

    def steps(self, full: int) -> int:
        return 20 if self.smoke else full

    def samples(self, full: int) -> int:
        return 64 if self.smoke else full

    def keep(self, name: str, **arrays: Tensor) -> None:
        """Keep arrays as NAME.npz."""
        if self.arrays is not None:
            self.arrays.mkdir(parents=True, exist_ok=True)
            kept: dict[str, Any] = {key: value.detach().numpy() for key, value in arrays.items()}
            np.savez_compressed(self.arrays / f"{name}.npz", **kept)


@dataclass(frozen=True)
class Asked:
    """A row of the result file, and where its numbers come from."""

    name: str
    part: str
    number: str
    unit: str
    controls: Mapping[str, Sequence[str]]
    """Numbers of the same part by their unit."""
    paper: float | None = None


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawing(law: GaussianMixture) -> Draw:
    """Batches {"x": (n, D)} of a mixture."""
    return lambda rng, n: {"x": law.sample(n, seeded(int(rng.integers(2**31))))}


def trained(
    model: nn.Module,
    draw: Draw,
    steps: int,
    seed: int,
    batch: int = 256,
    rate: float = 2e-3,
    average: float = 0.995,
) -> None:
    """Train a model in place; its weights are then their moving average."""
    config = FitConfig(
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        weight_decay=0.0,
        average=average,
        warmup=min(100, steps // 4),
        device="cpu",
    )
    fit(model, RandomBatches(draw, seed), config, logger=Logger(console=False))
