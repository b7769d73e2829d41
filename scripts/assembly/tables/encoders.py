"""Image encoders: `--encoder.image NAME`, and `--encoder NAME` of `embodia pretrain`."""

from collections.abc import Callable
from functools import partial

from embodia.perception.encoders.conv_net import conv_net
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.nature_cnn import NatureCNN
from embodia.perception.encoders.patch_cnn import PatchCNN
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.vit import ViT
from embodia.perception.generative.autoencoders.image_autoencoders import ImageAutoencoder, ImageVAE
from embodia.perception.objects.complex_autoencoder import complex_net
from embodia.perception.objects.slot_attention import SlotAutoEncoder
from embodia.perception.self_supervision.slow_features import slow_net

ENCODERS: dict[str, Callable[..., ImageEncoder]] = {
    "resnet": ResNet,
    "nature_cnn": NatureCNN,
    "patch_cnn": PatchCNN,
    "vit": ViT,
    "conv": conv_net,
    "slot_attention": SlotAutoEncoder,
    "complex_autoencoder": complex_net,
    "autoencoder": ImageAutoencoder,
    "vae": ImageVAE,
}

PRETRAINED: dict[str, Callable[..., ImageEncoder]] = {
    **ENCODERS,
    "resnet": partial(ResNet, dim=128, tokens="grid"),
    "nature_cnn": partial(NatureCNN, dim=128),
    "vit": partial(ViT, dim=128, depth=4, num_heads=4),
    "slot_attention": partial(SlotAutoEncoder, num_slots=6),
    "slow_features": slow_net,
}
"""The image encoders with their default sizes in pretraining."""
