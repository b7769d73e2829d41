"""Map policies that do not plan: CNN and FCN of Tamar et al. (2016), the controls of value iteration networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.planners.search.map_policy import Answer, MapPolicy


class MapCNN(MapPolicy):
    """Five convolutions over the maps and the agent's state, one pass for each state.

    The agent's cell is a further channel, one for each direction. 50, 50, 100, 100 and 100 filters of 3 x 3, pooling by
    2 after the first and third, and a linear layer. On maps of another size than `shape`, the last features are pooled
    to the size that they have in training.

    Args:
        channels: Number of input channels C.
        shape: Rows and columns of the maps in training.
        moves: Number of moves in a state.
        directions: Number of states in a cell.
    """

    def __init__(self, channels: int, shape: tuple[int, int], moves: int = 8, directions: int = 1):
        super().__init__(channels, moves, directions)
        widths, pooled = (50, 50, 100, 100, 100), (0, 2)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((channels + directions, *widths), widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if i in pooled else []
        rows, columns = (side // 4 for side in shape)
        layers += [nn.AdaptiveMaxPool2d((rows, columns)), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1] * rows * columns, moves))

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = maps.shape[2:]
        states = torch.arange(self.directions * rows * columns, device=maps.device)
        number = torch.arange(len(maps), device=maps.device)
        answer = self.answer(maps)
        found = torch.stack([answer(each.expand(len(states)), states) for each in number])
        return found.view(len(maps), rows, columns, self.directions * self.moves)

    def answer(self, maps: Tensor) -> Answer:
        def logits(number: Tensor, state: Tensor) -> Tensor:
            rows, columns = maps.shape[2:]
            here = F.one_hot(state, self.directions * rows * columns)
            here = here.view(len(state), rows, columns, self.directions).movedim(-1, 1)
            found: Tensor = self.layers(torch.cat([maps[number], here.to(maps.dtype)], 1))
            return found

        return logits


class MapFCN(MapPolicy):
    """Convolutions whose first filters span the whole map, so that every cell sees all of it.

    150 filters of (2 H - 1) x (2 W - 1), then 150 and 10 of 1 x 1, each with a ReLU, and a linear layer at the state.

    Args:
        channels: Number of input channels C.
        shape: Rows and columns of the maps in training.
        moves: Number of moves in a state.
        directions: Number of states in a cell.
        hidden: Number of the first filters.
    """

    def __init__(self, channels: int, shape: tuple[int, int], moves: int = 8, directions: int = 1, hidden: int = 150):
        super().__init__(channels, moves, directions)
        self.shape = shape
        rows, columns = shape
        # Large filters see mostly zeros; this scale keeps the first layer's outputs near 1.
        self.filters = nn.Parameter(torch.randn(hidden, channels, 2 * rows - 1, 2 * columns - 1) / (rows + columns))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.layers = nn.Sequential(
            nn.Linear(hidden, 150), nn.ReLU(), nn.Linear(150, 10), nn.ReLU(), nn.Linear(10, directions * moves)
        )

    def forward(self, maps: Tensor) -> Tensor:
        (high, wide), (rows, columns) = self.shape, maps.shape[2:]
        size = (rows + high, columns + wide)
        # The convolution is a product in the frequency domain, which is many times as fast as conv2d for such filters.
        product = torch.einsum("bcyx,hcyx->bhyx", torch.fft.rfft2(maps, s=size), torch.fft.rfft2(self.filters, s=size))
        first = torch.fft.irfft2(product, s=size)[..., high - 1 : high - 1 + rows, wide - 1 : wide - 1 + columns]
        found: Tensor = self.layers(F.relu(first + self.bias[:, None, None]).movedim(1, -1))
        return found
