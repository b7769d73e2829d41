"""The methods of self-supervision by name, their settings, and what counts as the same picture."""

from dataclasses import dataclass, field, replace
from typing import Literal

from embodia.perception import SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.complex_autoencoder import ComplexAutoEncoder
from embodia.perception.objects.slot_attention import SlotAutoEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.barlow_twins import BarlowTwins
from embodia.perception.self_supervision.byol import BYOL
from embodia.perception.self_supervision.dino import DINO, DINOSettings
from embodia.perception.self_supervision.mae import MAE
from embodia.perception.self_supervision.patch_vicreg import PatchVICReg
from embodia.perception.self_supervision.simclr import SimCLR
from embodia.perception.self_supervision.simsiam import SimSiam
from embodia.perception.self_supervision.slow_features import SlowFeatureAnalysis, SlowFeatures
from embodia.perception.self_supervision.time_contrastive import TimeContrastive
from embodia.perception.self_supervision.vicreg import VICReg
from embodia.perception.self_supervision.views import Views
from embodia.scripts.mistake import Mistake

Positives = Literal["augmentation", "temporal", "both"]


@dataclass(frozen=True)
class SimCLRSettings:
    """SimCLR (Chen et al. 2020)."""

    widths: tuple[int, ...] = (256, 128)
    """Of the projector's layers."""
    temperature: float = 0.2
    """Of the contrast."""


@dataclass(frozen=True)
class BYOLSettings:
    """BYOL (Grill et al. 2020)."""

    widths: tuple[int, ...] = (512, 128)
    """Of the projector's layers."""
    hidden: int = 512
    """Width of the predictor's hidden layer."""
    momentum: float = 0.95
    """Of the teacher at the start; it rises to 1. The paper's 0.99 and 0.996 are for a hundred times the updates."""
    predict: bool = True
    """Without a predictor (and momentum 0) it collapses."""
    predictor_rate: float = 10.0
    """Learning rate of the predictor, in those of the rest."""


@dataclass(frozen=True)
class SimSiamSettings:
    """SimSiam (Chen & He 2021)."""

    widths: tuple[int, ...] = (256, 128)
    """Of the projector's layers."""
    bottleneck: int = 64
    """Width of the predictor's hidden layer."""
    stop_gradient: bool = True
    """Without, it collapses."""
    predict: bool = True
    """Without a predictor it collapses."""
    predictor_rate: float = 1.0
    """Learning rate of the predictor, in those of the rest: the paper's 1 under SGD; 10 under AdamW."""


@dataclass(frozen=True)
class VICRegSettings:
    """VICReg (Bardes et al. 2022)."""

    widths: tuple[int, ...] = (512, 512)
    """Of the expander's layers."""
    weights: tuple[float, float, float] = (25.0, 25.0, 1.0)
    """Of invariance, variance and covariance."""


@dataclass(frozen=True)
class PatchVICRegSettings:
    """VICReg at every patch (the local criterion of Bardes et al. 2022, VICRegL), without an expander."""

    weights: tuple[float, float, float] = (25.0, 25.0, 0.05)
    """Of invariance, variance and covariance."""


@dataclass(frozen=True)
class BarlowTwinsSettings:
    """Barlow Twins (Zbontar et al. 2021)."""

    widths: tuple[int, ...] = (512, 512)
    """Of the projector's layers."""
    redundancy: float = 5e-3
    """Weight of the correlations off the diagonal."""
    scale: float = 1 / 32
    """Of the whole loss."""


@dataclass(frozen=True)
class MAESettings:
    """Masked autoencoder (He et al. 2022)."""

    mask_ratio: float = 0.75
    """Share of patches hidden."""
    width: int = 64
    """Of the decoder."""
    depth: int = 2
    """Of the decoder."""


@dataclass(frozen=True)
class TimeContrastiveSettings:
    """Time-contrastive learning within a view (Sermanet et al. 2018), on clips."""

    frames: int = 8
    """Of a clip."""
    reach: int = 2
    """A positive lies at most so many frames away."""
    margin: int = 3
    """Nearer frames of the same clip are no negatives."""
    temperature: float = 0.1
    """Of the contrast at the start; it is learned."""


@dataclass(frozen=True)
class SlotAttentionSettings:
    """Slot attention (Locatello et al. 2020): each slot draws an object; the network is its own encoder."""

    implicit: bool = False
    """The gradient goes through the last iteration alone (Chang et al. 2022)."""


@dataclass(frozen=True)
class ComplexAutoEncoderSettings:
    """Complex autoencoder (Löwe et al. 2022): phases bind what belongs together; the network is its own encoder."""


@dataclass(frozen=True)
class SlowFeaturesSettings:
    """Slow feature analysis (Wiskott & Sejnowski 2002) of a frozen encoder's tokens, in a metric of time."""

    pretrained: str | None = None
    """That encoder, as `embodia pretrain` wrote it; None for a random one."""
    features: int = 8
    """Kept of each token, the slowest first."""


MethodSettings = (
    SimCLRSettings
    | BYOLSettings
    | SimSiamSettings
    | VICRegSettings
    | PatchVICRegSettings
    | BarlowTwinsSettings
    | DINOSettings
    | MAESettings
    | TimeContrastiveSettings
    | SlotAttentionSettings
    | ComplexAutoEncoderSettings
    | SlowFeaturesSettings
)
METHODS: dict[str, MethodSettings] = {
    "simclr": SimCLRSettings(),
    "byol": BYOLSettings(),
    "simsiam": SimSiamSettings(),
    "vicreg": VICRegSettings(),
    "patch-vicreg": PatchVICRegSettings(),
    "barlow-twins": BarlowTwinsSettings(),
    "dino": DINOSettings(),
    "mae": MAESettings(),
    "time-contrastive": TimeContrastiveSettings(),
    "slot-attention": SlotAttentionSettings(),
    "complex-autoencoder": ComplexAutoEncoderSettings(),
    "slow-features": SlowFeaturesSettings(),
}


@dataclass(frozen=True)
class PositivesConfig:
    """Which two pictures are the same thing."""

    by: Positives = "augmentation"
    """One picture changed twice; two pictures some frames apart, unchanged; or such two, each changed."""
    gap: int = 1
    """Frames between the two of temporal and both; of time-contrastive, between those of a clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How a picture is changed."""

    @property
    def frames(self) -> int:
        """How many pictures are the same thing before they are changed."""
        return 1 if self.by == "augmentation" else 2

    def views(self, crops: bool) -> Views:
        """Clips hold the two pictures alone, so that the gap between them is one; `crops` are needed in any case."""
        if self.by == "augmentation":
            return Views(self.augmentation)
        if self.by == "both":
            return Views(self.augmentation, 1)
        only_crops = replace(self.augmentation, colour=0.0, brightness=0.0, grey=0.0, blur=0.0, noise=0.0, flip=0.0)
        return Views(only_crops if crops else None, 1)


def clip_frames(settings: MethodSettings, positives: PositivesConfig) -> int:
    """How many pictures a clip holds."""
    return settings.frames if isinstance(settings, TimeContrastiveSettings) else positives.frames


def method(settings: MethodSettings, encoder: ImageEncoder, positives: PositivesConfig, steps: int) -> SelfSupervised:
    """The method about the encoder it will train, `steps` long. Raises Mistake for what does not go together."""
    if isinstance(settings, MAESettings):
        if not isinstance(encoder, ViT):
            raise Mistake("mae hides patches, which only a vision transformer has: --encoder.net vit")
        if positives.by != "augmentation":
            raise Mistake("mae compares no two pictures: it paints hidden patches; leave --positives out")
        try:
            return MAE(encoder, settings.mask_ratio, settings.width, settings.depth)
        except ValueError as error:
            raise Mistake(f"mae: {error}") from error
    if isinstance(settings, TimeContrastiveSettings):
        if positives.by != "augmentation":
            raise Mistake(
                "time-contrastive has positives of its own, --method.reach frames away; leave --positives out"
            )
        return TimeContrastive(encoder, settings.reach, settings.margin, settings.temperature)
    if isinstance(settings, SlotAttentionSettings):
        if not isinstance(encoder, SlotAutoEncoder):
            raise Mistake("slot-attention is a network of its own: --encoder.net slot_attention")
        if positives.by != "augmentation":
            raise Mistake("slot-attention compares no two pictures: it draws one from its slots; leave --positives out")
        encoder.slot_attention.implicit = settings.implicit
        return encoder
    if isinstance(settings, ComplexAutoEncoderSettings):
        if not isinstance(encoder, ComplexAutoEncoder):
            raise Mistake("complex-autoencoder is a network of its own: --encoder.net complex_autoencoder")
        if positives.by != "augmentation":
            raise Mistake("complex-autoencoder compares no two pictures: it draws one again; leave --positives out")
        return encoder
    if isinstance(settings, SlowFeaturesSettings):
        assert isinstance(encoder, SlowFeatures)
        if positives.by != "temporal":
            raise Mistake("slow-features reads frames as they follow each other: leave --positives at temporal")
        return SlowFeatureAnalysis(encoder)
    if isinstance(settings, PatchVICRegSettings):
        moved = replace(positives.augmentation, scale=(1.0, 1.0), shift=0.0, rotation=0.0, flip=0.0)
        if positives.by != "temporal" and positives.augmentation != moved:
            raise Mistake(
                "patch-vicreg compares patches in the same place: --positives temporal, or without moving pictures: "
                "--views.augmentation.scale 1 1 --views.augmentation.flip 0"
            )
        return PatchVICReg(encoder, positives.views(crops=False), settings.weights)
    views = positives.views(crops=isinstance(settings, DINOSettings))
    match settings:
        case SimCLRSettings():
            return SimCLR(encoder, views, settings.widths, settings.temperature)
        case BYOLSettings():
            b = settings
            return BYOL(encoder, views, b.widths, b.hidden, b.momentum, steps, b.predict, b.predictor_rate)
        case SimSiamSettings():
            s = settings
            return SimSiam(encoder, views, s.widths, s.bottleneck, s.stop_gradient, s.predict, s.predictor_rate)
        case VICRegSettings():
            return VICReg(encoder, views, settings.widths, settings.weights)
        case BarlowTwinsSettings():
            return BarlowTwins(encoder, views, settings.widths, settings.redundancy, settings.scale)
        case DINOSettings():
            return DINO(encoder, views, settings if settings.steps else replace(settings, steps=steps))
