"""Segmenters: `embodia pretrain NAME --data PATH`, `embodia segment RUN --data PATH`."""

from collections.abc import Callable

from embodia.perception.structured.segmentation import Segmenter
from embodia.perception.structured.segmentation.pixel_segmenter import crf_rnn, fcn, unet
from embodia.perception.structured.segmentation.recurrent_instances import RecurrentInstances

SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "segmenter": unet,
    "fcn": fcn,
    "crf-rnn": crf_rnn,
    "recurrent-instances": RecurrentInstances,
}
