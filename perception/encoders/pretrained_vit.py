"""Pretrained vision transformers (such as DINOv2) through `transformers`, from a folder or the Hugging Face Hub."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from embodia.perception.encoders.image_encoder import PatchEncoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PretrainedViT(PatchEncoder):
    """Tokens of a pretrained ViT: patches (*B, rows * columns, dim), or the class token (*B, 1, dim).

    Args:
        space: Observation space with one RGB image.
        weights: A folder with `config.json` and `model.safetensors`, or a model id on the Hugging Face Hub
            ("facebook/dinov2-with-registers-small").
        output: "patches" or "cls".
        frozen: Keep the weights fixed and compute no gradients.
        keys: The image to read; by default the only one.

    Raises:
        ImportError: If `transformers` is not installed.
        ValueError: If the image is not RGB, or the model has no patches.
    """

    def __init__(
        self,
        space: spaces.Dict,
        weights: str,
        output: str = "patches",
        frozen: bool = True,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        if output not in ("patches", "cls"):
            raise ValueError(f'output must be "patches" or "cls"; got {output!r}')
        channels, height, width = self.image_shape
        if channels != 3:
            raise ValueError(f"{weights} reads RGB, but {self.keys} have {channels} channels; name one image in keys")
        self.model = _load(weights)
        config = self.model.config
        if not hasattr(config, "patch_size"):
            raise ValueError(f"{weights} is a {config.model_type}, which has no patches; use a vision transformer")
        self.patch_size, self.dim, self.output, self.frozen = config.patch_size, config.hidden_size, output, frozen
        self.extra = 1 + getattr(config, "num_register_tokens", 0)  # tokens before the patches
        self.grid = (-(-height // self.patch_size), -(-width // self.patch_size))
        self.num_tokens = self.grid[0] * self.grid[1] if output == "patches" else 1
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        if frozen:
            self.model.requires_grad_(False).eval()

    mean: Tensor
    std: Tensor

    def train(self, mode: bool = True) -> "PretrainedViT":
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token (N, dim) and patches (N, P, dim) of images (N, 3, H, W) in [-0.5, 0.5].

        The sides are padded to whole patches.
        """
        right, below = -images.shape[3] % self.patch_size, -images.shape[2] % self.patch_size
        pixels = F.pad((images + 0.5 - self.mean) / self.std, (0, right, 0, below))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states = self.model(pixel_values=pixels, **self._any_size()).last_hidden_state
        return states[:, 0], states[:, self.extra :]

    def _any_size(self) -> dict[str, Any]:
        """Return the argument with which ViT and DeiT accept other image sizes; DINOv2 always does."""
        return {"interpolate_pos_encoding": True} if self.model.config.model_type in ("vit", "deit") else {}

    def patch_keys(self, images: Tensor) -> Tensor:
        """Return the last attention layer's keys at the patches, all heads concatenated: (N, 3, H, W) -> (N, P, dim).

        Raises:
            ValueError: If the model's attention has no separate key projection.
        """
        named = [part for name, part in self.model.named_modules() if name.split(".")[-1] in ("key", "k_proj")]
        if not named:
            raise ValueError(
                f"{self.model.config.model_type} has no key projections for graph cuts; use a ViT or DINOv2"
            )
        caught: list[Tensor] = []
        hook = named[-1].register_forward_hook(lambda part, inputs, output: caught.append(output))
        try:
            self.tokens(images)
        finally:
            hook.remove()
        return caught[0][:, self.extra :]

    def encode(self, images: Tensor) -> Tensor:
        cls, patches = self.tokens(images)
        return patches if self.output == "patches" else cls[:, None]

    def summary(self, images: Tensor) -> Tensor:
        """The class token, (N, dim)."""
        return self.tokens(images)[0]


def _load(weights: str) -> Any:
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ImportError('pretrained weights need transformers: pip install "embodia[vit]"') from error
    try:
        return AutoModel.from_pretrained(weights)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{weights}: no model could be read ({str(error).splitlines()[0]}); give a folder with config.json and "
            "model.safetensors, or a model id on the Hugging Face Hub (needs a connection)"
        ) from error
