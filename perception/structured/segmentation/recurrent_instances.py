"""Recurrent instance segmentation with attention (Ren & Zemel 2017): one object a step, until nothing is left.

A step looks at the image and at the canvas, which holds what was segmented before. An LSTM takes a few glimpses, and
its attention chooses a box. The object is segmented in a window on the box and written on the canvas. A score tells
whether there was an object. In training, steps are matched to objects at the lowest cost, and the canvas shows true
masks with a probability that falls to 0; a step is not matched to an object that the canvas showed it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Obs
from embodia.perception.structured.segmentation import BadLabels, Segmenter, Segments, check_labels
from embodia.perception.structured.segmentation.gaussian_window import read, window_filters, write
from embodia.perception.structured.sets.hungarian import match, of_matched

LARGER = 1.3
"""Windows are larger than boxes, so that an object fits in if its box is a little too small."""
SHOWN, LATE = 10.0, 1e3
"""Cost of matching a step to an object that the canvas showed it, and to any object after as many steps as objects."""


class Attended(NamedTuple):
    """Where one step looks in N images, and what it thinks of the object there."""

    box: Tensor  # (N, 4) centre row, centre column, height, width, as shares of the image
    attention: Tensor  # (N, h, w), sums to 1
    score: Tensor  # (N,) logit
    category: Tensor  # (N, K - 1) logits


class Mask(NamedTuple):
    """The mask that one step finds in N images."""

    whole: Tensor  # (N, H, W) from 0 to 1
    window: Tensor  # (N, side, side) logits of the mask in its window
    filters: tuple[Tensor, Tensor]  # of the window


class Step(NamedTuple):
    """One step of training."""

    attended: Attended
    mask: Mask
    shown: Tensor  # (N, M) bool, objects whose true masks were on the canvas


class Objects(NamedTuple):
    """The true objects of N images, at most M each."""

    masks: Tensor  # (N, M, H, W) 0 or 1
    boxes: Tensor  # (N, M, 4)
    categories: Tensor  # (N, M) int64, 1 to K - 1
    real: Tensor  # (N, M) bool


class RecurrentInstances(Segmenter):
    """Segments one instance after the other.

    Args:
        space: Observation space with one colour image.
        categories: Names of the K classes.
        width: Number of channels.
        glimpses: Number of glimpses per step.
        window: Side of the window in which an object is segmented.
        most: Largest number of instances.
        steps: Number of updates of the training; in the first half, the probability of true masks on the canvas falls
            from 1 to 0.
        canvas: Whether the network sees the canvas; a control.
    """

    forced: Tensor

    def __init__(
        self,
        space: spaces.Dict,
        categories: Sequence[str],
        width: int = 16,
        glimpses: int = 2,
        window: int = 16,
        most: int = 20,
        steps: int = 1000,
        canvas: bool = True,
    ):
        super().__init__(space, categories)
        self.glimpses, self.side, self.most, self.sees_canvas = glimpses, window, most, canvas
        self.forced_updates = max(1, steps // 2)
        self.register_buffer("forced", torch.ones(()))  # probability of a true mask on the canvas
        hidden = 4 * width
        self.near = nn.Sequential(conv(5, width, 2), conv(width, width))  # half the resolution
        self.far = nn.Sequential(conv(width, 2 * width, 2), conv(2 * width, 2 * width))  # a quarter
        self.drawn = conv(1, 8, 4, kernel=7)
        self.look = nn.Sequential(conv(2 * width + 8, 2 * width), conv(2 * width, 2 * width))
        self.lstm = nn.LSTMCell(2 * width, hidden)
        self.query = nn.Linear(hidden, 2 * width)
        self.box = nn.Conv2d(2 * width, 4, 1)
        self.score = nn.Linear(hidden + 2 * width, 1)
        self.category = nn.Linear(hidden + 2 * width, len(self.categories) - 1)
        self.segment = nn.Sequential(
            conv(width + 6, 16), conv(16, 16, dilation=2), conv(16, 16, dilation=4), nn.Conv2d(16, 1, 1)
        )

    # One step -----------------------------------------------------------------------------------------------------

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of images (N, 3, H, W) that all steps share, at a half and at a quarter of the size."""
        near = self.near(torch.cat([images, places(images)], 1))
        return near, self.far(near)

    def attend(
        self, far: Tensor, canvas: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Attended, tuple[Tensor, Tensor]]:
        """Look for the next object.

        Args:
            far: Maps of `features`, at a quarter of the size.
            canvas: (N, 1, H, W) what was found before, 0 to 1.
            state: Of the LSTM.
        """
        seen = self.look(torch.cat([far, self.drawn(canvas)], 1))  # (N, D, h, w)
        cells = seen.flatten(2)  # (N, D, L)
        attention = torch.full_like(cells[:, 0], 1 / cells.shape[2])
        for _ in range(self.glimpses):
            state = self.lstm((cells @ attention[..., None])[..., 0], state)
            attention = (self.query(state[0])[:, None] @ cells)[:, 0].softmax(-1)
        known = torch.cat([state[0], (cells @ attention[..., None])[..., 0]], 1)
        found = Attended(
            self._box(seen, attention),
            attention.reshape(-1, *seen.shape[2:]),
            self.score(known)[:, 0],
            self.category(known),
        )
        return found, state

    def inside(self, images: Tensor, near: Tensor, canvas: Tensor, box: Tensor) -> Mask:
        """Segment the object in the middle of a box (N, 4)."""
        larger = box * box.new_tensor([1, 1, LARGER, LARGER])
        filters = window_filters(larger, self.side, *images.shape[2:])
        shrunk = window_filters(larger, self.side, *near.shape[2:])
        seen = torch.cat([read(torch.cat([images, canvas], 1), *filters), read(near, *shrunk)], 1)
        window = self.segment(torch.cat([seen, places(seen)], 1))
        return Mask(write(window.sigmoid(), *filters)[:, 0].clamp(0, 1), window[:, 0], filters)

    def visible(self, canvas: Tensor) -> Tensor:
        return canvas if self.sees_canvas else torch.zeros_like(canvas)

    def _box(self, seen: Tensor, attention: Tensor) -> Tensor:
        """Return the attended mean (N, 4) of the box that each place proposes."""
        proposed = self.box(seen)
        centre = places(seen) + 0.5 + 0.2 * proposed[:, :2]
        extent = 0.25 * proposed[:, 2:].clamp(-3, 1.3).exp()
        return torch.cat([centre, extent], 1).flatten(2) @ attention[..., None] @ torch.ones(1, device=seen.device)

    def start(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return an empty canvas and the initial state."""
        zeros = images.new_zeros(len(images), self.lstm.hidden_size)
        return torch.zeros_like(images[:, :1]), (zeros, zeros)

    # Inference ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forward(self, obs: Obs) -> Segments:
        images = self.images(obs)
        maps = self.features(images)
        canvas, state = self.start(images)
        going = torch.ones(len(images), dtype=torch.bool, device=images.device)
        best = torch.full_like(images[:, 0], 0.5)
        labels, instances = (torch.zeros_like(best, dtype=torch.int64) for _ in range(2))
        for number in range(1, self.most + 1):
            seen = self.visible(canvas)
            found, state = self.attend(maps[1], seen, state)
            going = going & (found.score > 0)
            if not going.any():
                break
            mask = self.inside(images, maps[0], seen, found.box).whole
            mine = (mask > best) & going[:, None, None]
            best = torch.where(mine, mask, best)
            instances = torch.where(mine, number, instances)
            labels = torch.where(mine, 1 + found.category.argmax(1)[:, None, None], labels)
            canvas = torch.maximum(canvas, mask[:, None])
        return Segments(labels, instances)

    # Training -----------------------------------------------------------------------------------------------------

    def after_update(self) -> None:
        self.forced.sub_(1 / self.forced_updates).clamp_(min=0)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        images = self.images(batch["obs"])
        check_labels(batch["labels"], len(self.categories), (len(images), *images.shape[2:]))
        if "instances" not in batch or batch["instances"].shape != batch["labels"].shape:
            raise BadLabels("a learner of instances needs instance maps of the shape of the label maps")
        true = objects_of(batch["labels"], batch["instances"], self.most)
        steps = self._unroll(images, true)
        return instance_loss(steps, true)

    def _unroll(self, images: Tensor, true: Objects) -> list[Step]:
        """Return as many steps as the fullest image has objects, and one more.

        A step that is forced aims at the nearest object left: it segments in the true box, and the canvas then shows
        the true mask.
        """
        maps = self.features(images)
        canvas, state = self.start(images)
        left, rows = true.real.clone(), torch.arange(len(images), device=images.device)
        steps, shown = [], torch.zeros_like(true.real)
        for _ in range(left.shape[1]):
            seen = self.visible(canvas)
            found, state = self.attend(maps[1], seen, state)
            distance = (found.box[:, None] - true.boxes).abs().sum(-1).masked_fill(~left, torch.inf)
            nearest = distance.argmin(1)
            forced = (torch.rand(len(images), device=images.device) < self.forced) & left[rows, nearest]
            box = torch.where(forced[:, None], true.boxes[rows, nearest], found.box)
            mask = self.inside(images, maps[0], seen, box)
            steps.append(Step(found, mask, shown.clone()))
            drawn = torch.where(forced[:, None, None], true.masks[rows, nearest], mask.whole.detach())
            canvas = torch.maximum(canvas, drawn[:, None])
            shown[rows, nearest] |= forced
            left[rows, nearest] = False
        found, _ = self.attend(maps[1], self.visible(canvas), state)
        return [*steps, Step(found, self.inside(images, maps[0], self.visible(canvas), found.box), shown)]


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3, dilation: int = 1) -> nn.Module:
    padding = dilation * (kernel // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.ReLU())


def places(maps: Tensor) -> Tensor:
    """Return the row and column (N, 2, H, W) of each place of maps (N, C, H, W), -0.5 to 0.5."""
    n, _, height, width = maps.shape
    rows, columns = ((torch.arange(side, device=maps.device) + 0.5) / side - 0.5 for side in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(n, -1, -1, -1)


def objects_of(labels: Tensor, instances: Tensor, most: int) -> Objects:
    """Return the objects of label maps and instance maps (N, H, W): the `most` largest of each image."""
    height, width = instances.shape[1:]
    found = [_largest(each, most) for each in instances]
    count = max((len(each) for each in found), default=0)
    ids = torch.stack([F.pad(each, (0, count - len(each)), value=-1) for each in found])  # (N, M)
    masks = (instances[:, None] == ids[..., None, None]) & (ids > 0)[..., None, None]
    lows, highs = zip(*(_extent(masks, axis) for axis in (3, 2)))
    top_left, bottom_right = torch.stack(lows, -1), torch.stack(highs, -1)
    size = torch.tensor([height, width], device=labels.device)
    boxes = torch.cat([(top_left + bottom_right) / 2 / size, (bottom_right - top_left) / size], -1)
    categories = torch.where(masks, labels[:, None], 0).flatten(2).amax(-1) if count else ids
    return Objects(masks.float(), boxes, categories.clamp(min=1), ids > 0)


def _largest(instances: Tensor, most: int) -> Tensor:
    ids, sizes = instances[instances > 0].unique(return_counts=True)
    return ids[sizes.argsort(descending=True, stable=True)[:most]]


def _extent(masks: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the first row (N, M) with a pixel and the one after the last, for axis 3; columns for axis 2."""
    there = masks.any(axis)
    place = torch.arange(there.shape[-1], device=masks.device).expand(there.shape)
    far = there.shape[-1]
    if not there.numel():
        return (there.new_zeros(there.shape[:2], dtype=torch.int64),) * 2
    return torch.where(there, place, far).amin(-1), torch.where(there, place + 1, 0).amax(-1)


def instance_loss(steps: Sequence[Step], true: Objects) -> tuple[Tensor, dict[str, Tensor]]:
    """Match steps to objects, and return the loss of masks, boxes, attention, categories and scores.

    Args:
        steps: T steps.
        true: At most T - 1 objects an image.
    """
    found = [each.attended for each in steps]
    masks, boxes = torch.stack([each.mask.whole for each in steps], 1), torch.stack([each.box for each in found], 1)
    scores, kinds = torch.stack([each.score for each in found], 1), torch.stack([each.category for each in found], 1)
    late = torch.arange(len(steps), device=scores.device)[None] >= true.real.sum(1, keepdim=True)
    overlap = soft_iou(masks, true.masks)  # (N, T, M)
    apart = (boxes[:, :, None] - true.boxes[:, None]).abs().sum(-1)
    cost = apart - overlap + SHOWN * torch.stack([each.shown for each in steps], 1).float()
    matched = match(cost.masked_fill(late[..., None], LATE), true.real)
    there = (matched >= 0) & ~late
    score_loss = monotone_score_loss(scores, there)
    if not there.any():
        return score_loss + 0 * masks.sum(), {"score_loss": score_loss}
    wanted, index = of_matched(true.masks, matched), matched.clamp(min=0)[..., None]

    def mean(values: Tensor) -> Tensor:
        return (values * there).sum() / there.sum()

    windows = [_window_loss(each.mask, target) for each, target in zip(steps, wanted.unbind(1))]
    pointing = [_pointing_loss(each.attention, target) for each, target in zip(found, wanted.unbind(1))]
    named = F.cross_entropy(kinds.transpose(1, 2), of_matched(true.categories, matched) - 1, reduction="none")
    iou = mean(overlap.gather(2, index)[..., 0])
    parts = {
        "mask_loss": 1 - iou + mean(torch.stack(windows, 1)),
        "box_loss": 5 * mean(apart.gather(2, index)[..., 0]),
        "attention_loss": mean(torch.stack(pointing, 1)),
        "category_loss": mean(named),
        "score_loss": score_loss,
    }
    return torch.stack(list(parts.values())).sum(), {**parts, "iou": iou}


def soft_iou(found: Tensor, true: Tensor) -> Tensor:
    """Return the IoU (N, T, M) of masks (N, T, H, W) from 0 to 1 and (N, M, H, W)."""
    a, b = found.flatten(2), true.flatten(2)
    both = a @ b.transpose(1, 2)
    return both / (a.sum(-1)[..., None] + b.sum(-1)[:, None] - both).clamp(min=1e-6)


def _window_loss(mask: Mask, wanted: Tensor) -> Tensor:
    """Return the cross-entropy (N,) in the window of true masks (N, H, W)."""
    target = read(wanted[:, None], *(each.detach() for each in mask.filters))[:, 0].clamp(0, 1)
    return F.binary_cross_entropy_with_logits(mask.window, target, reduction="none").mean((1, 2))


def _pointing_loss(attention: Tensor, wanted: Tensor) -> Tensor:
    """Return minus the log of the share of attention (N, h, w) on true masks (N, H, W): (N,)."""
    _, height, width = attention.shape
    on = F.adaptive_avg_pool2d(wanted[:, None], (height, width))[:, 0]
    return -(attention * on.clamp(max=0.5) * 2).sum((1, 2)).clamp(min=1e-6).log()


def monotone_score_loss(scores: Tensor, there: Tensor) -> Tensor:
    """Cross-entropy of scores that should fall: each step with an object pulls up the lowest score so far, and each
    step without one pushes down the highest from there on.

    Args:
        scores: Logits (N, T).
        there: (N, T) bool, whether the step has an object.
    """
    lowest = scores.cummin(1).values
    highest = scores.flip(1).cummax(1).values.flip(1)
    return torch.where(there, F.softplus(-lowest), F.softplus(highest)).mean()
