"""Every detector: its parts against closed forms, learning on a few images, and user errors."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.training.fit import FitConfig, fit
from embodia.perception.generative.diffusion.schedule import cosine
from embodia.perception.pictures.shape_scenes import NAMES, shape_scenes
from embodia.perception.structured.detection.assignment import dynamic_k
from embodia.perception.structured.detection.box_deltas import shifted
from embodia.perception.structured.detection.dense_head import DenseHead
from embodia.perception.structured.detection.diffusion_det import DiffusionDet, DiffusionDetConfig
from embodia.perception.structured.detection.localizer import Localizer, LocalizerConfig
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision
from embodia.perception.structured.detection.roi_align import roi_align
from embodia.perception.structured.detection.set_loss import set_loss
from embodia.perception.structured.detection.sliding_window import SlidingWindowConfig, SlidingWindowDetector, windows
from embodia.perception.structured.detection.two_stage import TwoStageConfig, TwoStageDetector
from embodia.perception.structured.detection.yolo import YOLO, YOLOConfig
from embodia.scripts.bench.structured.training import Batches

SMALL = {"dim": 32, "width": 8, "stages": 3}
BUILD = {
    "yolo": lambda space: YOLO(space, NAMES, YOLOConfig(**SMALL, stride=4)),
    "two-stage": lambda space: TwoStageDetector(space, NAMES, TwoStageConfig(**SMALL, stride=4, proposals=8)),
    "localizer": lambda space: Localizer(space, NAMES, LocalizerConfig(**SMALL)),
    "sliding": lambda space: SlidingWindowDetector(
        space, NAMES, SlidingWindowConfig(sides=(0.3, 0.45, 0.6), width=8, step=0.2)
    ),
    "diffusion": lambda space: DiffusionDet(
        space, NAMES, DiffusionDetConfig(**SMALL, stride=4, heads=2, pooled=4, train_boxes=12, boxes=12)
    ),
}
STEPS = {"yolo": 150, "two-stage": 120, "localizer": 150, "sliding": 80, "diffusion": 250}


@pytest.mark.parametrize("name", BUILD)
def test_a_detector_learns_a_few_images_by_heart(name):
    scenes = shape_scenes(12, 0, objects=(1, 1) if name == "localizer" else (1, 2), size=32)
    torch.manual_seed(0)
    detector = BUILD[name](scenes.space())
    config = FitConfig(steps=STEPS[name], batch_size=12, learning_rate=3e-3, warmup=10)
    progress = fit(detector, Batches(scenes.images, scenes.truth, 0, mirror=False), config)
    assert all(np.isfinite(line["loss"]) for line in progress.lines)
    found = detector({"rgb": torch.from_numpy(scenes.images)})
    assert MeanAveragePrecision(found, scenes.truth, 10).scores()["AP50"] > 0.75
    for each in found:
        assert (each.boxes >= 0).all() and (each.boxes <= 32).all()  # noqa: PT018
        assert (np.diff(each.scores) <= 0).all()
        assert each.boxes.dtype == each.scores.dtype == np.float32
        assert each.labels.dtype == np.int64


@pytest.mark.parametrize("name", BUILD)
def test_images_without_objects_give_a_finite_loss(name):
    scenes = shape_scenes(4, 0, size=32)
    batch = Batches(scenes.images, scenes.truth, 0).batch(4)
    batch["labels"][:] = -1
    batch["boxes"][:] = 0
    torch.manual_seed(0)
    detector = BUILD[name](scenes.space())
    loss, _ = detector.loss(batch)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())
    assert loss.isfinite()


@pytest.mark.parametrize("name", BUILD)
def test_bad_images_are_refused(name):
    detector = BUILD[name](shape_scenes(1, 0, size=32).space())
    with pytest.raises(ValueError, match=r"rgb has shape \(0, 32, 32, 3\)"):
        detector({"rgb": torch.zeros((0, 32, 32, 3), dtype=torch.uint8)})
    with pytest.raises(ValueError, match=r"this detector reads \(B, 32, 32, 3\)"):
        detector({"rgb": torch.zeros((1, 16, 32, 3), dtype=torch.uint8)})
    with pytest.raises(ValueError, match="colour images"):
        YOLO(spaces.Dict(depth=spaces.Box(0, 1, (32, 32, 1))), NAMES)
    with pytest.raises(ValueError, match="at least one category"):
        YOLO(detector.space, ())


def test_roi_align_of_a_ramp_is_the_ramp_in_the_box():
    """Features that grow linearly: the mean over a cell is the value at its centre."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    features = torch.stack([columns, rows])[None] * 4 + 2  # the position of each cell's centre at stride 4
    box = torch.tensor([[[10.0, 14, 40, 34]]])
    found = roi_align(features, box, 5, stride=4)[0, 0]
    x, y = 10 + 30 * (torch.arange(5) + 0.5) / 5, 14 + 20 * (torch.arange(5) + 0.5) / 5
    torch.testing.assert_close(found[0], x.expand(5, 5))
    torch.testing.assert_close(found[1], y[:, None].expand(5, 5))


def test_dynamic_k_gives_each_object_its_best_and_no_prediction_two():
    overlaps = torch.tensor([[[0.9, 0.8, 0.7, 0.0], [0.1, 0.2, 0.0, 0.3]]])
    found = dynamic_k(1 - overlaps, overlaps, torch.ones(1, 2, dtype=torch.bool))
    assert found.tolist() == [[0, 0, -1, 1]]  # sums 2.4 and 0.6: two predictions, and at least one
    nobody = dynamic_k(1 - overlaps, overlaps, torch.zeros(1, 2, dtype=torch.bool))
    assert (nobody == -1).all()


def test_a_perfect_prediction_of_the_dense_head_costs_nearly_nothing():
    torch.manual_seed(0)
    head = DenseHead(8, 3, stride=8)
    features = torch.randn(1, 8, 4, 4)
    centres = head.centres(features)
    assert centres[0].tolist() == [4, 4] and centres[5].tolist() == [12, 12]  # noqa: PT018
    true = torch.tensor([[[8.0, 8, 20, 18]]])
    boxes = true.expand(1, 16, 4).clone()
    logits = torch.full((1, 16, 3), -12.0)
    logits[:, :, 1] = 12.0  # all cells say so, but only the near ones are assigned
    assigned = head.assign(features, logits, boxes, true, torch.tensor([[1]]))
    near = (centres - torch.tensor([14.0, 13])).abs().amax(-1) <= 12
    assert ((assigned[0] == 0) == near).all()
    logits[0, ~near, 1] = -12.0
    loss, _ = head.loss(features, logits, boxes, true, torch.tensor([[1]]))
    assert loss < 1e-3


def test_deltas_move_and_scale():
    box = torch.tensor([10.0, 10, 30, 20])
    found = shifted(box, torch.tensor([1.0, 2.0, 0.0, float(np.log(2.0))]), weight=2.0)
    torch.testing.assert_close(found, torch.tensor([20.0, 15.0, 40.0, 35.0]))


def test_the_set_loss_does_not_depend_on_the_order():
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, 6, 4), torch.rand(2, 6, 4) * 10
    boxes[..., 2:] += boxes[..., :2] + 1
    truth_boxes, labels = boxes[:, [4, 1, 2]] + 0.5, torch.tensor([[0, 3, -1], [2, 2, 1]])
    scale = torch.full((4,), 20.0)
    loss, _ = set_loss(logits, boxes, truth_boxes, labels, scale)
    turned, other = torch.randperm(6), torch.tensor([2, 0, 1])
    again, _ = set_loss(logits[:, turned], boxes[:, turned], truth_boxes[:, other], labels[:, other], scale)
    torch.testing.assert_close(loss, again)


def test_diffusion_det_encodes_boxes_reversibly_and_takes_any_number_of_steps_and_boxes():
    scenes = shape_scenes(3, 0, size=32)
    torch.manual_seed(0)
    detector = BUILD["diffusion"](scenes.space()).eval()
    boxes = torch.tensor([[1.0, 2, 9, 30], [0, 0, 32, 32]])
    torch.testing.assert_close(detector.decode(detector.encode(boxes)), boxes, atol=1e-4, rtol=0)
    assert detector.encode(boxes).abs().max() <= 2
    assert np.allclose(detector.schedule.alphas, cosine(1000).alphas)
    obs = {"rgb": torch.from_numpy(scenes.images)}
    asked = []
    detector.heads[0].register_forward_hook(lambda _, inputs, __: asked.append((inputs[1].shape[1], inputs[3])))
    detector.detect(obs, steps=3, boxes=17)
    assert [n for n, _ in asked] == [17] * 3
    torch.testing.assert_close(asked[0][1], detector.time(torch.ones(3)))  # begins with pure noise
    for first, second in zip(detector(obs), detector(obs)):
        assert np.array_equal(first.boxes, second.boxes)


def test_windows_lie_inside_and_cover_the_image():
    found = windows((40, 60), SlidingWindowConfig()).numpy()
    assert (found >= 0).all()
    assert (found[:, [0, 2]] <= 60.01).all()
    assert (found[:, [1, 3]] <= 40.01).all()
    widths, heights = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    assert np.unique((widths / heights).round(3)).tolist() == [0.5, 1.0, 2.0]
    assert np.unique(np.sqrt(widths * heights).round(2)).tolist() == pytest.approx([6.4, 8.8, 12.0])
