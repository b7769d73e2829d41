"""Normalised cut: image segmentation as a graph cut (Shi & Malik 2000).

A cut of a graph W into A and B costs cut(A, B) / assoc(A, V) + cut(A, B) / assoc(B, V). If nodes may take real values
instead of one of two sides, the best cut is the second eigenvector of (D - W) y = lambda D y.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor

from embodia.perception.objects.image_discovery import ImageDiscovery, pooled
from embodia.perception.objects.k_means import k_means

Array = NDArray[Any]
Graph = Any
"""Affinities (P, P): symmetric, nonnegative, with a positive sum in every row; a numpy or scipy sparse array."""
Threshold = Literal["mean", "median", "best"]


def eigenvectors(graph: Graph, k: int) -> tuple[Array, Array]:
    """Return the k smallest generalised eigenvalues (k,), ascending, and their eigenvectors (P, k) with y^T D y = 1.

    Raises:
        ValueError: If a node has no edge, or there are fewer than k nodes.
    """
    degree = np.asarray(graph.sum(1)).ravel()
    if (degree <= 0).any():
        raise ValueError(f"node {int(degree.argmin())} has no edge: normalised cut needs a positive sum in every row")
    if not k <= len(degree):
        raise ValueError(f"a graph of {len(degree)} nodes has fewer than {k} eigenvectors")
    root = 1 / np.sqrt(degree)
    if sparse.issparse(graph) and k < len(degree) - 1:
        laplacian = sparse.eye_array(len(degree)) - graph.multiply(root[:, None]).multiply(root)
        # Shift-invert just below 0, the lower bound of the eigenvalues. A fixed start makes the result reproducible.
        start = np.random.default_rng(0).standard_normal(len(degree))
        values, vectors = eigsh(laplacian.tocsc(), k, sigma=-1e-3, v0=start)
        order = values.argsort()
        values, vectors = values[order], vectors[:, order]
    else:
        dense = graph.toarray() if sparse.issparse(graph) else np.asarray(graph, np.float64)
        laplacian = np.eye(len(degree)) - root[:, None] * dense * root
        values, vectors = linalg.eigh(laplacian, subset_by_index=[0, k - 1])
    return values, vectors * root[:, None]


def second_eigenvector(graph: Graph) -> Array:
    """Return the second eigenvector (P,). Its entry of largest magnitude is positive."""
    vector = eigenvectors(graph, 2)[1][:, 1]
    return vector * np.sign(vector[np.abs(vector).argmax()])


def cut_value(graph: Graph, side: Array) -> float:
    """Return the normalised cost, 0 to 2, of cutting side (P,) bool off. Raises ValueError if a side is empty."""
    if side.all() or not side.any():
        raise ValueError("both sides of a cut need nodes; one is empty")
    degree = np.asarray(graph.sum(1)).ravel()
    inside = float((graph @ side.astype(np.float64))[side].sum())
    cut = degree[side].sum() - inside
    return float(cut / degree[side].sum() + cut / degree[~side].sum())


def bipartition(graph: Graph, threshold: Threshold = "best") -> Array:
    """Cut a graph in two by thresholding the second eigenvector. Returns one side, (P,) bool.

    Args:
        graph: Affinities (P, P).
        threshold: The vector's mean, its median, or the value with the cheapest cut ("best").
    """
    vector = second_eigenvector(graph)
    if threshold == "mean":
        return vector > vector.mean()
    if threshold == "median":
        return vector > np.median(vector)
    rank = vector.argsort(kind="stable").argsort()
    return rank > prefix_costs(graph, rank).argmin()


def prefix_costs(graph: Graph, rank: Array) -> Array:
    """Return the cost (P - 1,) of cutting the nodes of rank 0..t off the rest, for every t; rank is (P,)."""
    edges = sparse.coo_array(graph)
    ends = np.sort([rank[edges.row], rank[edges.col]], axis=0)
    opened, closed = (np.bincount(end, edges.data, len(rank)) for end in ends)
    cut = (opened - closed).cumsum()[:-1] / 2  # every edge is stored twice
    degree = np.bincount(rank[edges.row], edges.data, len(rank))
    volume = degree.cumsum()[:-1]
    return cut / volume + cut / (degree.sum() - volume)


def recursive_cut(graph: Graph, most: float = 0.2, segments: int = 16, least: int = 2) -> NDArray[np.int64]:
    """Cut a graph in two recursively, cheapest cut first, while a cut costs at most `most`.

    Args:
        graph: Affinities (P, P).
        most: Maximum cost of a cut.
        segments: Maximum number of segments.
        least: Minimum number of nodes of a segment.

    Returns:
        Labels (P,).
    """
    labels = np.zeros(graph.shape[0], np.int64)
    waiting = [_proposal(graph, np.arange(graph.shape[0]), least)]
    while waiting and labels.max() + 1 < segments:
        cost, nodes, side = waiting.pop(min(range(len(waiting)), key=lambda i: waiting[i][0]))
        if cost > most:
            break
        labels[nodes[side]] = labels.max() + 1
        waiting += [_proposal(graph, part, least) for part in (nodes[side], nodes[~side])]
    return labels


def _proposal(graph: Graph, nodes: Array, least: int) -> tuple[float, Array, Array]:
    """Return the cost of cutting these nodes in two and one side. The cost is infinite if they cannot be cut."""
    refused = (math.inf, nodes, np.zeros(len(nodes), bool))
    if len(nodes) < max(2 * least, 3):
        return refused
    part = graph[nodes][:, nodes]
    side = bipartition(part)
    if min(side.sum(), (~side).sum()) < least:
        return refused
    return cut_value(part, side), nodes, side


def k_way_cut(graph: Graph, k: int, fine: int = 0) -> NDArray[np.int64]:
    """Cut a graph into k segments: k-means on the first k eigenvectors, with every node's coordinates scaled to length
    1.

    Args:
        graph: Affinities (P, P).
        k: Number of segments.
        fine: If above k, the number of eigenvectors and initial segments, which are then merged to k.

    Returns:
        Labels (P,) in 0..k-1.

    Source:
        Ng, Jordan & Weiss 2001.
    """
    count = max(k, fine)
    vectors = torch.from_numpy(eigenvectors(graph, count)[1])
    return merged(graph, k_means(F.normalize(vectors, dim=1)[None], count)[0].numpy(), k)


def merged(graph: Graph, labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Merge segments pairwise until k are left, each time the pair with the cheapest resulting k-way cut.

    This is the greedy pruning of Shi & Malik 2000. It minimises the cut itself, not its relaxation. Returns labels (P,)
    in 0..k-1.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    member = sparse.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    between = np.asarray((member.T @ sparse.csr_array(graph) @ member).todense())
    while len(between) > k:
        degree, inside = between.sum(1), between.diagonal()
        together = (inside[:, None] + inside + 2 * between) / (degree[:, None] + degree)
        gain = together - (inside / degree)[:, None] - inside / degree
        np.fill_diagonal(gain, -math.inf)
        kept, gone = sorted(divmod(int(gain.argmax()), len(gain)))
        between[kept] += between[gone]
        between[:, kept] += between[:, gone]
        between = np.delete(np.delete(between, gone, 0), gone, 1)
        labels = np.where(labels == gone, kept, labels)
        labels -= labels > gone
    return labels


def pixel_affinity(image: Array, sigma_value: float, sigma_place: float, radius: float) -> sparse.csr_array:
    """Affinity exp(-|F_i - F_j|^2 / sigma_value^2 - |X_i - X_j|^2 / sigma_place^2) of pixels closer than `radius`.

    image is (H, W, C) float. Returns a sparse (H W, H W) array with 1 on the diagonal.
    """
    height, width = image.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    rows, columns, values = [index.ravel()], [index.ravel()], [np.ones(height * width)]
    reach = math.ceil(radius)
    for down in range(reach + 1):
        for right in range(-reach, reach + 1):
            place = down**2 + right**2
            if (down, right) <= (0, 0) or place >= radius**2 or down >= height or abs(right) >= width:
                continue
            here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
            there = (slice(down, height), slice(max(0, right), width - max(0, -right)))
            unlike = np.square(image[here] - image[there]).sum(2).ravel()
            weight = np.exp(-unlike / sigma_value**2 - place / sigma_place**2)
            rows += [index[here].ravel(), index[there].ravel()]
            columns += [index[there].ravel(), index[here].ravel()]
            values += [weight, weight]
    where = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), where), (index.size, index.size))


class NormalizedCut(ImageDiscovery):
    """Segments of an image by colour and distance. It has no weights. A token is a segment's mean colour.

    Args:
        space: Observation space with an image.
        segments: Number of segments.
        sigma_value: Colour difference at which the affinity has fallen to 1 / e; a channel spans 1.
        sigma_place: Distance [pixels] at which the affinity has fallen to 1 / e.
        radius: Pixels farther apart have no edge [pixels].
        fine: Number of initial segments, which are then merged. A large background needs it: its first eigenvectors
            vary smoothly across it, which the relaxation rates cheaper than a true border.
        keys: Image keys to read.
    """

    def __init__(
        self,
        space: spaces.Dict,
        segments: int = 2,
        sigma_value: float = 0.15,
        sigma_place: float = 4.0,
        radius: float = 5.0,
        fine: int = 8,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        self.num_tokens, self.dim = segments, self.image_shape[0]
        self.sigma_value, self.sigma_place, self.radius, self.fine = sigma_value, sigma_place, radius, fine

    def _labels(self, picture: Array) -> Tensor:
        graph = pixel_affinity(picture, self.sigma_value, self.sigma_place, self.radius)
        return torch.from_numpy(k_way_cut(graph, self.num_tokens, self.fine)).view(picture.shape[:2])

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        pictures = images.permute(0, 2, 3, 1).double().cpu().numpy()
        labels = torch.stack([self._labels(picture) for picture in pictures]).to(images.device)
        return F.one_hot(labels, self.num_tokens).permute(0, 3, 1, 2).float()

    def encode(self, images: Tensor) -> Tensor:
        return pooled(images, self.segment(images))
