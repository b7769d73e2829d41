"""TokenCut and MaskCut on the patches of several encoders, and normalised cuts of pixels; beside a central box."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from embodia.perception.encoders.image_encoder import PatchEncoder
from embodia.perception.encoders.patch_statistics import PatchStatistics
from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.k_means import k_means
from embodia.perception.objects.mask_cut import MaskCut
from embodia.perception.objects.normalized_cut import NormalizedCut
from embodia.perception.objects.token_cut import TokenCut, token_cut
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.pictures.sprites import sprites
from embodia.perception.scores.clustering_scores import ari, average_precision, box_iou, box_of, corloc, mask_iou
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.dino import DINO, DINOConfig
from embodia.perception.self_supervision.views import Views
from embodia.scripts.bench.discovery.records import (
    ADAM,
    DEVICE,
    TEST,
    Array,
    Record,
    in_pieces,
    objects_scores,
    record,
    trained,
)
from embodia.scripts.bench.discovery.sets import home_frames, kept, road_pictures
from embodia.scripts.report import mask_picture
from embodia.scripts.report.mask_picture import as_labels
from embodia.scripts.report.statistics import wilson

HOMES = "home frames 128x128"


def cuts(
    out: Path,
    dataset: str,
    test: Scenes,
    train: Scenes,
    encoders: dict[str, PatchEncoder],
    controls: Sequence[str] = ("random ViT",),
    objects: int = 3,
    others: Scenes | None = None,
) -> list[Record]:
    """TokenCut and MaskCut on several encoders' centred patches, beside the best box in the middle.

    `others` are images of the same size, whose mean patch features at each position can be subtracted.
    """
    truths = [true_boxes(label) for label in test.labels]
    side = best_side(train)
    height, width = test.labels.shape[1:]
    middle = np.tile(middle_box(height, width, side), (len(truths), 1))
    scores, within = located(middle, truths)
    scores["AP50"] = ap50([box[None] for box in middle], truths)
    records = [record(dataset, f"centre box of side {side:.2f}", scores, "", True, within)]
    for name, encoder in encoders.items():
        encoder.eval().to(DEVICE)
        control = name in controls
        usual = None if others is None else in_pieces(partial(keys, encoder), encoder, *others).mean(0)
        ways: dict[str, dict[str, Any]] = {}
        ways |= {", less the usual": {"centred": True, "usual": usual}} if usual is not None else {}
        ways |= {", not centred": {}} if isinstance(encoder, ViT) else {}
        ways |= {"": {"centred": True}}  # the last one is drawn, and used for MaskCut
        for way, options in ways.items():
            single = in_pieces(partial(salient, TokenCut(encoder, **options)), encoder, *test)
            scores, within = located([box_of(mask) for mask in single], truths)
            records.append(record(dataset, f"TokenCut, {name}{way}", scores, "", control, within))
        title = f"{dataset}: TokenCut on {name}{way}, CorLoc {scores['CorLoc']:.2f}"
        mask_picture.write(out / f"{slug(dataset)}-tokencut-{slug(name)}.png", test, single, title)
        several = in_pieces(partial(all_masks, MaskCut(encoder, objects, **options)), encoder, *test)
        scores, within = located([box_of(masks[0] > 0) for masks in several], truths)
        scores |= several_scores(several, test, truths)
        records.append(record(dataset, f"MaskCut, {name}{way}", scores, "", control, within))
        title = f"{dataset}: MaskCut on {name}{way}, AP50 {scores['AP50']:.2f}"
        mask_picture.write(out / f"{slug(dataset)}-maskcut-{slug(name)}.png", test, as_labels(several), title)
    return records


def located(boxes: ArrayLike, truths: list[Array]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """CorLoc of one box per image, and its interval over images."""
    found = wilson(int(corloc(boxes, truths).sum()), len(truths))
    return {"CorLoc": found.value}, {"CorLoc": [found.low, found.high]}


def keys(encoder: PatchEncoder, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return encoder.patch_keys(images)


def salient(model: TokenCut, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return model.segment(images)[:, 0].long()


def all_masks(model: MaskCut, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return model.segment(images)


def slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-")


def several_scores(masks: Array, test: Scenes, truths: list[Array]) -> dict[str, float]:
    """Scores of masks (N, K + 1, H, W), the background last: AP50 of boxes, AP50m of masks, FG-ARI, mIoU."""
    found = [[mask for mask in some[:-1] > 0 if mask.any()] for some in masks]
    boxes = [np.array([box_of(mask) for mask in some]) for some in found]
    true_masks = [np.stack([label == k for k in range(1, label.max() + 1)]) for label in test.labels]
    order = [1 / np.arange(1, len(some) + 1) for some in found]
    by_mask = [mask_iou(np.stack(some), true) for some, true in zip(found, true_masks)]
    scores = {"AP50": ap50(boxes, truths), "AP50m": average_precision(by_mask, order)}
    together = objects_scores(test, as_labels(masks))
    if test.labels.max() == 1:
        del together["FG-ARI"]  # it is meaningless for one object
    return scores | together


def ap50(found: list[Array], truths: list[Array]) -> float:
    """AP50 of boxes (M, 4) per image; those found first have the highest confidence."""
    ious = [box_iou(boxes, truth) for boxes, truth in zip(found, truths)]
    return average_precision(ious, [1 / np.arange(1, len(boxes) + 1) for boxes in found])


def true_boxes(label: Array) -> Array:
    return np.array([box_of(label == k) for k in range(1, label.max() + 1)], np.float64).reshape(-1, 4)


def middle_box(height: int, width: int, side: float) -> Array:
    return np.array([width * (1 - side), height * (1 - side), width * (1 + side), height * (1 + side)]) / 2


def best_side(train: Scenes) -> float:
    """Side of the central box, relative to the image, with the highest CorLoc on training images."""
    truths = [true_boxes(label) for label in train.labels]
    height, width = train.labels.shape[1:]
    sides = np.arange(0.2, 1.01, 0.05)
    rates = [corloc(np.tile(middle_box(height, width, side), (len(truths), 1)), truths).mean() for side in sides]
    return float(sides[int(np.argmax(rates))])


def cuts_sprites(out: Path) -> list[Record]:
    """One sprite on a background: features from the true masks with increasing noise, then features of encoders."""
    test, train = (sprites(300, seed, (1, 1), (0.1, 0.4)) for seed in (TEST, 0))
    dataset = "one sprite 64x64"
    truths = [true_boxes(label) for label in test.labels]
    records = []
    rng = np.random.default_rng(0)
    for noise in (0.05, 1.0, 2.0, 3.0):
        found = [box_of(token_cut(oracle(label, noise, rng), (16, 16)).mask) * np.array(4) for label in test.labels]
        scores, within = located(found, truths)
        method, budget = f"TokenCut, oracle + noise {noise}", "features from the truth"
        records.append(record(dataset, method, scores, budget, intervals=within))
    encoders: dict[str, PatchEncoder] = {
        "colour and gradients": PatchStatistics(test.space(), patch_size=4),
        "random ViT": small_vit(test, patch=4),
    }
    return records + cuts(out, dataset, test, train, encoders)


def cuts_many_sprites(out: Path) -> list[Record]:
    test, train = (sprites(200, seed) for seed in (TEST, 0))
    encoders: dict[str, PatchEncoder] = {
        "colour and gradients": PatchStatistics(test.space(), patch_size=4),
        "random ViT": small_vit(test, patch=4),
    }
    return cuts(out, "one to four sprites 64x64", test, train, encoders, objects=4)


def oracle(label: Array, noise: float, rng: np.random.Generator, dim: int = 64) -> Array:
    """Features (256, dim) of 4x4 patches: one of two orthonormal vectors, for object or background, plus noise."""
    rows = label.reshape(16, 4, 16, 4).transpose(0, 2, 1, 3).reshape(256, 16)
    most = (rows > 0).mean(1) > 0.5
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return basis[most.astype(int)] + rng.normal(0, noise / np.sqrt(dim), (256, dim))


def small_vit(scenes: Scenes, patch: int = 8, seed: int = 0) -> ViT:
    """A ViT with the same weights at every call: as a control it must not depend on earlier trainings."""
    torch.manual_seed(seed)
    return ViT(scenes.space(), patch, dim=96, depth=3, num_heads=3)


def home_scenes(out: Path) -> tuple[Scenes, Scenes, Scenes]:
    """Frames of test homes, of training homes for learning, and of training homes for mean patch features."""
    return (
        kept(out / "homes-test.npz", lambda: home_frames(300, "test", 128)),
        kept(out / "homes-train.npz", lambda: home_frames(3000, "train", 64, worlds=32)),
        kept(out / "homes-others.npz", lambda: home_frames(300, "train", 128)),
    )


def cuts_homes(out: Path) -> list[Record]:
    """The controls: patches of an untrained transformer, and colours."""
    test, train, others = home_scenes(out)
    encoders: dict[str, PatchEncoder] = {
        "random ViT": small_vit(test),
        "colour and gradients": PatchStatistics(test.space(), patch_size=8),
    }
    return cuts(out, HOMES, test, train, encoders, tuple(encoders), others=others)


def cuts_homes_dino(out: Path, seed: int) -> list[Record]:
    """Cuts of the patches of a DINO trained on frames of training homes."""
    test, train, others = home_scenes(out)
    folder = out / f"dino-homes-{seed}"
    learned, budget = home_dino(folder, train, 1_200, seed)
    records = cuts(folder, HOMES, test, train, {"DINO": enlarged(learned, test)}, (), others=others)
    return [each | {"budget": budget} for each in records if "DINO" in each["method"]]


def home_dino(out: Path, train: Scenes, steps: int, seed: int) -> tuple[ViT, str]:
    """Train a small ViT by DINO on 64x64 frames of training homes; returns the teacher's network and the budget.

    The prototypes stay at their initial values, as they were when README's number was measured. The augmentations are
    weak: with crops of 0.4 and the usual colour changes, the student is no better than chance after 300 updates.
    """
    views = Views(Augmentation(scale=(0.75, 1.0), colour=0.1, brightness=0.1, grey=0.1, blur=0.0))
    settings = DINOConfig(
        prototypes=64, batch_norm=True, momentum=0.98, steps=steps, local_crops=0, frozen_updates=steps
    )
    model = DINO(small_vit(train, seed=seed), views, settings)
    config = replace(ADAM, steps=steps, batch_size=64, warmup=50, clip=1.0, precision="bfloat16", seed=seed)
    budget = trained(model, train, config, out)
    assert isinstance(model.kept, ViT)
    return model.kept, budget


def enlarged(encoder: ViT, scenes: Scenes) -> ViT:
    """Return the same network for larger images: its position embeddings are interpolated."""
    larger = small_vit(scenes)
    state = encoder.state_dict()
    state["pos_embed"] = F.interpolate(state["pos_embed"], larger.grid, mode="bicubic", align_corners=False)
    larger.load_state_dict(state)
    return larger


def cuts_roads(out: Path) -> list[Record]:
    test = kept(out / "roads-test.npz", lambda: road_pictures(100, "test"))
    train = kept(out / "roads-train.npz", lambda: road_pictures(100, "train"))
    encoders: dict[str, PatchEncoder] = {
        "colour and gradients": PatchStatistics(test.space(), patch_size=4),
        "random ViT": small_vit(test, patch=4),
    }
    return cuts(out, "roads from above 96x96", test, train, encoders, objects=4)


def normalised_cut(out: Path) -> list[Record]:
    """Segments of images of one sprite by colour and distance, beside colour alone."""
    test = sprites(60, TEST, (1, 1), (0.1, 0.4))
    model = NormalizedCut(test.space(), segments=2, sigma_value=0.2)
    cut = in_pieces(lambda images, _: model.segment(images).argmax(1), model, test.images, test.labels)
    colours = k_means(torch.from_numpy(test.images).flatten(1, 2).float(), 2).view(test.labels.shape).numpy()
    found = {"normalised cut of pixels": cut, "k-means of colours": colours}
    dataset = "one sprite 64x64"
    scores = {name: {"ARI+BG": float(ari(test.labels, labels).mean())} for name, labels in found.items()}
    title = f"normalised cut of pixels, ARI {scores['normalised cut of pixels']['ARI+BG']:.2f}"
    mask_picture.write(out / "normalised-cut.png", test, cut, title)
    return [record(dataset, name, each, "", name.startswith("k-means")) for name, each in scores.items()]
