"""Self-supervised learners: `embodia pretrain NAME`."""

from collections.abc import Callable
from functools import partial

from embodia.perception import SelfSupervised
from embodia.perception.generative.autoencoders.image_autoencoders import autoencoder, denoising_autoencoder, vae
from embodia.perception.objects.complex_autoencoder import complex_autoencoder
from embodia.perception.objects.slot_attention import slot_attention
from embodia.perception.self_supervision.barlow_twins import BarlowTwins
from embodia.perception.self_supervision.byol import BYOL
from embodia.perception.self_supervision.dino import DINO
from embodia.perception.self_supervision.mae import MAE
from embodia.perception.self_supervision.patch_vicreg import PatchVICReg
from embodia.perception.self_supervision.simclr import SimCLR
from embodia.perception.self_supervision.simsiam import SimSiam
from embodia.perception.self_supervision.slow_features import slow_features
from embodia.perception.self_supervision.time_contrastive import TimeContrastive
from embodia.perception.self_supervision.vicreg import VICReg

LEARNERS: dict[str, Callable[..., SelfSupervised]] = {
    "simclr": SimCLR,
    "byol": partial(BYOL, momentum=0.95),
    "simsiam": SimSiam,
    "vicreg": VICReg,
    "patch-vicreg": PatchVICReg,
    "barlow-twins": BarlowTwins,
    "dino": DINO,
    "mae": MAE,
    "time-contrastive": partial(TimeContrastive, reach=2, margin=3),
    "slot-attention": slot_attention,
    "complex-autoencoder": complex_autoencoder,
    "slow-features": slow_features,
    "autoencoder": autoencoder,
    "denoising-autoencoder": denoising_autoencoder,
    "vae": vae,
}
