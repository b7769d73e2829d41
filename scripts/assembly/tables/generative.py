"""Generative models of pictures: `embodia pretrain NAME`, `embodia sample RUN`."""

from collections.abc import Callable

from embodia.perception.generative import Generative
from embodia.perception.generative.diffusion.image_diffusion import ddpm
from embodia.perception.generative.energies.image_models import ImageRBM, image_energy
from embodia.perception.generative.flows.flow_matching import image_flow

GENERATIVE_MODELS: dict[str, Callable[..., Generative]] = {
    "ddpm": ddpm,
    "flow-matching": image_flow,
    "rbm": ImageRBM,
    "energy": image_energy,
}
