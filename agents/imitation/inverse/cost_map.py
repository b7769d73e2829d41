"""Costs of a map's cells, as a linear function or a small network of the map's features."""

from collections.abc import Sequence

from torch import Tensor, nn

LOWEST, HIGHEST = -4.0, 6.0
"""Range of log costs. Planning needs positive costs; a cost beyond the range changes no path."""


class CostMap(nn.Module):
    """Map features (W, C, rows, columns) to positive costs (W, rows * columns): the exponential of a network.

    Without hidden layers the log cost is linear in a cell's features (LEARCH: Ratliff, Silver & Bagnell 2009).

    Args:
        channels: number of features C.
        hidden: widths of the hidden layers, each a convolution over a cell and its neighbours.
    """

    def __init__(self, channels: int, hidden: Sequence[int] = ()):
        super().__init__()
        widths = [channels, *hidden]
        layers: list[nn.Module] = []
        for width, following in zip(widths, hidden):
            layers += [nn.Conv2d(width, following, 3, padding=1, padding_mode="replicate"), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(widths[-1], 1, 1)
        nn.init.zeros_(self.last.weight)  # at first every cell costs the same
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor) -> Tensor:
        log_cost: Tensor = self.last(self.layers(features)).flatten(1)
        return log_cost.clamp(LOWEST, HIGHEST).exp()
