"""Binary segmentation by graph cuts (Greig, Porteous & Seheult 1989; Boykov & Kolmogorov 2004).

The energy sum_i unary_i[y_i] + sum_ij weight_ij [y_i != y_j] with weights that are not negative is submodular, and a
minimum cut finds its exact minimum.
"""

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from embodia.perception.structured import Array

PRECISION = 2**24
"""The largest capacity of an edge, because scipy's maximum flow takes 32-bit integers."""


def grid_edges(height: int, width: int) -> Array:
    """Return the pairs of neighbouring pixels (E, 2) of an image: first across, then down."""
    index = np.arange(height * width).reshape(height, width)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    return np.concatenate([across, down])


def graph_cut(unary: Array, edges: Array, weights: Array) -> Array:
    """Return the labels (N,) of lowest energy.

    Args:
        unary: energies (N, 2) of the labels 0 and 1.
        edges: pairs of nodes (E, 2).
        weights: energy (E,) of each pair with different labels.

    Raises:
        ValueError: if a weight is negative (the energy is then not submodular), or an energy is not finite.
    """
    if not (np.isfinite(unary).all() and np.isfinite(weights).all()):
        raise ValueError("an energy is not finite; correct the features or the weights")
    if (weights < 0).any():
        wrong = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(f"edge {wrong} has weight {weights[wrong]:.3g}; a cut is exact only if weights are at least 0")
    nodes = len(unary)
    source, sink, all_nodes = nodes, nodes + 1, np.arange(nodes)
    gain = unary[:, 1] - unary[:, 0]  # what label 1 costs more; a node beside the source has label 0
    begin = np.concatenate([np.full(nodes, source), all_nodes, edges[:, 0], edges[:, 1]])
    end = np.concatenate([all_nodes, np.full(nodes, sink), edges[:, 1], edges[:, 0]])
    capacity = np.concatenate([np.maximum(gain, 0), np.maximum(-gain, 0), weights, weights])
    largest = capacity.max()
    if largest == 0:
        return np.zeros(nodes, np.int64)
    whole = np.round(capacity * (PRECISION / largest)).astype(np.int32)
    graph = csr_matrix(coo_matrix((whole, (begin, end)), shape=(nodes + 2, nodes + 2)))
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    labels = np.ones(nodes + 2, np.int64)
    labels[reached] = 0
    return labels[:nodes]


class SegmentationProblem:
    """Images of features x (height, width, D) with labels y (height, width) of 0 or 1, as a structured output.

    The loss is the share of wrong pixels. Weights: those of label 1 for the features (D,); then how much two
    neighbours with different labels cost, in total and by how alike they look (2,), which must not be negative.

    Args:
        height, width: size of the images.
        dimensions: D.
        contrast: index of the feature whose difference makes two neighbours look different.
        linked: whether neighbours depend on each other.
    """

    def __init__(self, height: int, width: int, dimensions: int, contrast: int = 0, linked: bool = True):
        self.shape, self.dimensions, self.contrast, self.linked = (height, width), dimensions, contrast, linked
        self.edges = grid_edges(height, width)
        self.size = dimensions + 2
        self.nonnegative = np.arange(self.size) >= dimensions

    def features(self, x: Array, y: Array) -> Array:
        unary = (x * y[..., None]).sum((0, 1))
        first, second = y.ravel()[self.edges].T
        pairs = -self.pairs(x)[first != second].sum(0) if self.linked else np.zeros(2)
        return np.concatenate([unary, pairs]) / y.size

    def pairs(self, x: Array) -> Array:
        """Return the features (E, 2) of each pair of neighbours: 1, and how alike they look."""
        difference = np.diff(x[..., self.contrast].ravel()[self.edges], axis=1)[:, 0]
        return np.stack([np.ones(len(self.edges)), np.exp(-np.square(difference) / 0.5)], 1)

    def distance(self, y: Array, other: Array) -> float:
        return float(np.mean(y != other))

    def decode(self, weights: Array, x: Array, truth: Array | None = None) -> Array:
        score = (x @ weights[: self.dimensions]).ravel()
        energy = np.stack([np.zeros_like(score), -score], 1)
        if truth is not None:
            energy -= np.arange(2) != truth.ravel()[:, None]
        if not self.linked:
            return energy.argmin(1).reshape(self.shape)
        return graph_cut(energy, self.edges, self.pairs(x) @ weights[self.dimensions :]).reshape(self.shape)
