"""Detectors: `embodia pretrain NAME --data PATH`, `embodia detect RUN --data PATH`."""

from collections.abc import Callable

from embodia.perception.structured.detection import Detector
from embodia.perception.structured.detection.diffusion_det import DiffusionDet
from embodia.perception.structured.detection.localizer import Localizer
from embodia.perception.structured.detection.sliding_window import SlidingWindowDetector
from embodia.perception.structured.detection.two_stage import TwoStageDetector
from embodia.perception.structured.detection.yolo import YOLO

DETECTORS: dict[str, Callable[..., Detector]] = {
    "detector": YOLO,
    "two-stage-detector": TwoStageDetector,
    "diffusion-det": DiffusionDet,
    "sliding-window": SlidingWindowDetector,
    "localizer": Localizer,
}
