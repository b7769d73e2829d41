"""What a denoiser knows beside the sample: its time, and a condition that may be missing."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from embodia.perception.generative import Condition


class TimeEmbedding(nn.Module):
    """Times (B,) from 0 to 1 -> (B, dim): sines and cosines of 1000 t, then a two-layer MLP (Ho et al. 2020)."""

    def __init__(self, dim: int):
        super().__init__()
        self.frequencies = [1000.0 * 10_000.0 ** (-i / (dim // 2)) for i in range(dim // 2)]
        self.mlp = nn.Sequential(nn.Linear(2 * (dim // 2), dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, time: Tensor) -> Tensor:
        angle = time[:, None] * torch.tensor(self.frequencies, device=time.device)
        return self.mlp(torch.cat([angle.sin(), angle.cos()], 1))


class ClassEmbedding(nn.Module):
    """Labels int64 (B,) -> (B, dim)."""

    def __init__(self, num_classes: int, dim: int):
        super().__init__()
        self.num_classes = num_classes
        self.table = nn.Embedding(num_classes, dim)

    def forward(self, label: Tensor) -> Tensor:
        if label.min() < 0 or label.max() >= self.num_classes:
            raise ValueError(f"labels reach {label.max().item()}; the model knows classes 0 to {self.num_classes - 1}")
        return self.table(label)


class VectorEmbedding(nn.Module):
    """Numbers (B, *shape) of `inputs` in all -> (B, dim), by a two-layer MLP."""

    def __init__(self, inputs: int, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, vector: Tensor) -> Tensor:
        return self.mlp(vector.flatten(1))


class DictEmbedding(nn.Module):
    """A dict of conditions -> (B, dim): the sum of what each entry's own module gives."""

    def __init__(self, modules: Mapping[str, nn.Module]):
        super().__init__()
        self.entries = nn.ModuleDict(modules)

    def forward(self, condition: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([module(condition[name]) for name, module in self.entries.items()]).sum(0)


class Conditioning(nn.Module):
    """Time and condition -> (B, dim).

    Args:
        dim: width of the embedding.
        embed: module of the condition, (B, ...) -> (B, dim); None for an unconditional network. Where the condition is
            missing or dropped, a learned embedding takes its place.
    """

    def __init__(self, dim: int, embed: nn.Module | None = None):
        super().__init__()
        self.time, self.embed = TimeEmbedding(dim), embed
        self.null = nn.Parameter(math.sqrt(1 / dim) * torch.randn(dim)) if embed is not None else None

    def forward(self, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None) -> Tensor:
        embedded = self.time(time)
        if self.embed is None or self.null is None:
            if condition is not None:
                raise ValueError("a condition was given to an unconditional denoiser; build it with an embedding")
            return embedded
        if condition is None:
            return embedded + self.null
        known = self.embed(condition)
        return embedded + (known if drop is None else torch.where(drop[:, None], self.null, known))
