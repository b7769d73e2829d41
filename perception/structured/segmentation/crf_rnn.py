"""CRF as recurrent network (Zheng et al. 2015): mean field unrolled, with learned weights and compatibility."""

import torch
from torch import Tensor, nn

from embodia.perception.structured.segmentation.dense_crf import DenseCRFConfig, filters, mean_field, on_pixels, potts

RATE = 10.0
"""How much faster than a network's weights those of the CRF learn: they are stored divided by it."""


class CRFRNN(nn.Module):
    """Layer that refines logits by mean field in a dense CRF. It starts as `dense_crf.refine`.

    Each kernel has a matrix of weights (K, K) between classes, as in the authors' code. No gradient flows to the image.

    Args:
        classes: K.
        config: Kernels, initial weights, and the number of iterations in evaluation.
        train_iterations: Number of iterations in training; gradients vanish over many.
        fast: As in `dense_crf.filters`.
    """

    def __init__(
        self,
        classes: int,
        config: DenseCRFConfig | None = None,
        train_iterations: int = 5,
        fast: bool | None = None,
    ):
        super().__init__()
        self.config, self.train_iterations, self.fast = config or DenseCRFConfig(), train_iterations, fast
        same = torch.eye(classes) / RATE
        self.appearance = nn.Parameter(self.config.appearance_weight * same)
        self.smoothness = nn.Parameter(self.config.smoothness_weight * same)
        self.compatibility = nn.Parameter(potts(classes) / RATE)

    def forward(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return log Q (N, K, H, W).

        Args:
            logits: (N, K, H, W).
            images: (N, C, H, W), colours that span 1.
        """
        look, smooth = filters(images, self.config, self.fast)

        def both(q: Tensor) -> Tensor:
            return RATE * (look(q) @ self.appearance + smooth(q) @ self.smoothness)

        iterations = self.train_iterations if self.training else self.config.iterations
        return on_pixels(logits, lambda x: mean_field(-x, both, RATE * self.compatibility, iterations))
