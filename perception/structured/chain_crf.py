"""The linear-chain conditional random field (Lafferty, McCallum & Pereira 2001), learned by maximum likelihood.

It has the score of `chain`: sum_t (unary_t[y_t] + transition[y_t, y_t+1]), whose exponential, normalised by the forward
algorithm, is the probability of the labels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from embodia.perception.structured.chain import viterbi


def log_partition(unary: Tensor, transition: Tensor) -> Tensor:
    """Return log sum_y exp(score(y)), (B,), by the forward algorithm, for scores (B, T, K) and transitions (K, K)."""
    alpha = unary[:, 0]
    for scores in unary[:, 1:].unbind(1):
        alpha = (alpha[:, :, None] + transition).logsumexp(1) + scores
    return alpha.logsumexp(-1)


def marginals(unary: Tensor, transition: Tensor) -> tuple[Tensor, Tensor]:
    """Return p(y_t) (B, T, K) and p(y_t, y_t+1) (B, T - 1, K, K) by the forward-backward algorithm."""
    forward = [unary[:, 0]]
    for scores in unary[:, 1:].unbind(1):
        forward.append((forward[-1][:, :, None] + transition).logsumexp(1) + scores)
    backward = [torch.zeros_like(unary[:, 0])]
    for scores in unary[:, 1:].flip(1).unbind(1):
        backward.append((transition + (scores + backward[-1])[:, None]).logsumexp(-1))
    alpha, beta = torch.stack(forward, 1), torch.stack(backward[::-1], 1)
    z = alpha[:, -1].logsumexp(-1)[:, None, None]
    pairs = alpha[:, :-1, :, None] + transition + (unary + beta)[:, 1:, None] - z[..., None]
    return (alpha + beta - z).exp(), pairs.exp()


class ChainCRF(nn.Module):
    """Linear-chain CRF over sequences of vectors (B, T, D) with K classes, a learner for `agents.training.fit`.

    Args:
        dimensions: D.
        classes: K.
        l2: weight of half the squared weights, as in a structured SVM.
    """

    def __init__(self, dimensions: int, classes: int, l2: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, dimensions))
        self.transition = nn.Parameter(torch.zeros(classes, classes))
        self.l2 = l2

    def forward(self, x: Tensor) -> Tensor:
        """Return the most likely labels (B, T)."""
        transition = self.transition.detach().numpy()
        return torch.stack([torch.from_numpy(viterbi(each.detach().numpy(), transition)) for each in self.unary(x)])

    def unary(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take {"x" (B, T, D), "y" (B, T)}; the negative log-likelihood of a sequence, plus the prior."""
        unary, y = self.unary(batch["x"]), batch["y"]
        score = unary.gather(-1, y[..., None])[..., 0].sum(1) + self.transition[y[:, :-1], y[:, 1:]].sum(1)
        nats = (log_partition(unary, self.transition) - score).mean()
        prior = self.weight.square().sum() + self.transition.square().sum()
        return nats + self.l2 / 2 * prior, {"nats": nats}
