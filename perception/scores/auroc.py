"""Area under the ROC curve."""

import torch
from torch import Tensor


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a score of `positive` (P,) is above one of `negative` (N,); ties count half.

    0.5 is chance and 1 a perfect separation.
    """
    ranked = negative.double().sort().values
    below = torch.searchsorted(ranked, positive.double().contiguous())
    not_above = torch.searchsorted(ranked, positive.double().contiguous(), right=True)
    return ((below + not_above).double().mean() / (2 * len(negative))).item()
