"""Dense optical flow between two frames, by OpenCV's DIS (Kroeger et al. 2016). Simulators give the true flow."""

import cv2
import numpy as np

from embodia.perception.structured.tracking import Array

SMALLEST = 32
"""Shorter side below which frames are enlarged first [pixels]."""


def optical_flow(first: Array, second: Array) -> Array:
    """Return the flow (H, W, 2) float32 [pixels], (columns, rows) by which the pixels of the first frame move.

    Args:
        first, second: frames (H, W, 3) uint8.

    Raises:
        ValueError: if the frames differ in size, or are no uint8 images.
    """
    if first.shape != second.shape or first.ndim != 3 or first.dtype != np.uint8 or second.dtype != np.uint8:
        raise ValueError(f"frames {first.dtype} {first.shape} and {second.dtype} {second.shape}; expected two uint8 "
                         "images (H, W, 3) of one size")  # fmt: skip
    height, width = first.shape[:2]
    times = max(1, -(-SMALLEST // min(height, width)))
    grey = [
        cv2.resize(cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_RGB2GRAY), (times * width, times * height))
        for each in (first, second)
    ]
    start = np.zeros((times * height, times * width, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], start)
    return np.asarray(flow, np.float32)[times // 2 :: times, times // 2 :: times] / times
