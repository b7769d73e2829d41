"""Encoders of pictures: `--encoder.image NAME`, and `--encoder NAME` of `embodia pretrain`."""

from collections.abc import Callable

from embodia.perception.encoders.conv_net import conv_net
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.nature_cnn import NatureCNN
from embodia.perception.encoders.patch_cnn import PatchCNN
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.slot_attention import SlotAutoEncoder

ENCODERS: dict[str, Callable[..., ImageEncoder]] = {
    "resnet": ResNet,
    "nature_cnn": NatureCNN,
    "patch_cnn": PatchCNN,
    "vit": ViT,
    "conv": conv_net,
    "slot_attention": SlotAutoEncoder,
}
