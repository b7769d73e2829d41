"""Object discovery without labels: method by set by score, the paper's number, ours and the best control.

Every part is a file in `out` once it is done; a training that was stopped goes on where it stood.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from perception.augmentation import Augmentation
from perception.clustering_scores import ari, average_precision, box_iou, box_of, corloc, mask_iou, mean_iou
from perception.complex_autoencoder import ComplexAutoEncoder
from perception.dino import DINO, DINOSettings
from perception.image_encoder import PatchEncoder
from perception.k_means import k_means
from perception.mask_cut import MaskCut
from perception.normalized_cut import NormalizedCut
from perception.outlined_shapes import THREE_SHAPES, TWO_SHAPES, Shape, outlined_shapes
from perception.patch_statistics import PatchStatistics
from perception.scenes import OVERLAP, Scenes
from perception.slot_attention import SlotAutoEncoder
from perception.sprites import sprites
from perception.tetrominoes import tetrominoes
from perception.token_cut import TokenCut, token_cut
from perception.views import Views
from perception.vit import ViT
from scripts import mask_picture
from scripts.discovery_sets import home_frames, kept, road_pictures
from scripts.provenance import hardware
from scripts.short_training import ShortTraining, warm_up
from scripts.statistics import wilson

Array = NDArray[Any]
Record = dict[str, Any]
"""One method on one set: set, method, control (bool), scores {name: value}, budget, intervals {name: [low, high]}."""
TEST = 1_000_000
"""Seeds of test pictures are this far from those of training pictures."""
COMPILES = shutil.which("g++") is not None
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PICTURES = 20_000
TETROMINOES, SMALL = "Tetrominoes 35x35, 3 pieces", "Tetrominoes 16x16, 2 pieces"
PAPER = {
    ("2Shapes", "complex autoencoder", "ARI-BG"): 0.9994,
    ("2Shapes", "complex autoencoder", "ARI+BG"): 0.9993,
    ("3Shapes", "complex autoencoder", "ARI-BG"): 0.9881,
    ("3Shapes", "complex autoencoder", "ARI+BG"): 0.8137,
    (TETROMINOES, "slot attention", "FG-ARI"): 0.995,
}
"""On the same kind of set: the complex autoencoder as an independent re-implementation reports it, slot attention after
500k steps. TokenCut and MaskCut have none on these sets, and the small Tetrominoes are ours."""


def measure(seeds: int = 3, only: Sequence[str] = (), out: Path = Path("runs/discovery")) -> dict[str, Any]:
    """Run what is not done yet of the parts whose names begin with one of `only` (all without), then the table.

    Raises:
        ValueError: for a beginning that no part has.
    """
    chosen = parts(seeds)
    for name in only:
        if not any(part.startswith(name) for part in chosen):
            raise ValueError(f"no part of this bench begins with {name!r}; the parts are {', '.join(chosen)}")
    for name, part in chosen.items():
        path = out / f"{name}.json"
        if path.exists() or (only and not name.startswith(tuple(only))):
            continue
        print(f"{name} ...", file=sys.stderr)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        started = process_time()
        records = part(out)
        path.write_text(json.dumps({"records": records, "cpu_s": round(process_time() - started, 1)}, indent=1))
    return table(out, chosen)


def table(out: Path, names: Iterable[str]) -> dict[str, Any]:
    """What is done so far, on the console and as one object."""
    records: list[Record] = []
    for name in names:
        if (path := out / f"{name}.json").exists():
            records += json.loads(path.read_text())["records"]
    rows = [row for dataset in dict.fromkeys(r["set"] for r in records) for row in rows_of(records, dataset)]
    print(f"{'set':<28}{'method':<40}{'score':<20}{'ours':>7} {'95 %':<14}{'best control':<44}paper")
    for row in rows:
        control = "(control)" if row["control"] else f"{row['best_control']:.3f} {row['best_control_name']}"
        within = "{:.3f}-{:.3f}".format(*row["interval"]) if row["interval"] else ""
        ours = f"{row['ours']:7.3f} {within:<14}"
        print(f"{row['set']:<28}{row['method']:<40}{row['score']:<20}{ours}{control:<44}{row['paper'] or ''}")
    return {"rows": rows, "hardware": hardware()}


def rows_of(records: list[Record], dataset: str) -> list[dict[str, Any]]:
    """A row per method and score of one set: mean over seeds, each seed's value, and the best control's."""
    mine = [record for record in records if record["set"] == dataset]
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(record["method"] for record in mine):
        runs = [record for record in mine if record["method"] == method]
        for score in runs[0]["scores"]:
            values = [run["scores"][score] for run in runs]
            controls = [
                (r["scores"][score], r["method"])
                for r in mine
                if r["control"] and score in r["scores"] and r["method"] != method
            ]
            best = max(controls, default=(float("nan"), "none"))
            rows.append(
                {"set": dataset, "method": method, "score": score, "control": runs[0]["control"]}
                | {"ours": float(np.mean(values)), "seeds": values, "budget": runs[0]["budget"]}
                | {"interval": runs[0].get("intervals", {}).get(score) if len(runs) == 1 else None}
                | {"best_control": best[0], "best_control_name": best[1], "paper": PAPER.get((dataset, method, score))}
            )
    return rows


def record(
    dataset: str,
    method: str,
    scores: dict[str, float],
    budget: str,
    control: bool = False,
    intervals: dict[str, list[float]] | None = None,
) -> Record:
    found = {"set": dataset, "method": method, "control": control, "scores": scores, "budget": budget}
    return found | {"intervals": intervals or {}}


# Complex autoencoder on 2Shapes


def complex_autoencoder(
    out: Path, seed: int, steps: int, name: str, chi: float = 0.5, shapes: Sequence[Shape] = TWO_SHAPES
) -> list[Record]:
    """The paper's recipe, batches of 64 and Adam at 1e-3 after 500 steps of warm-up, but the rate falls at last.

    At a constant rate the loss still leaps in the last thousand steps, and ARI-BG with it by 0.02. chi 1 is a plain
    autoencoder.
    """
    train, test = (outlined_shapes(n, s, shapes) for n, s in ((PICTURES, seed), (1000, TEST + seed)))
    torch.manual_seed(seed)
    model = ComplexAutoEncoder(train.space(), slots=len(shapes) + 1, chi=chi)
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    few = Scenes(test.images[:200], test.labels[:200])
    rate = warm_up(1e-3, 500, steps)
    training = ShortTraining(out / name, steps, rate, 500, seed, compiled=COMPILES, bf16=True)
    curve = training.run(model, batches(train, seed), lambda: phase_scores(model, few)[0])
    scores, found = phase_scores(model, test)
    budget = budget_of(curve)
    if chi == 1:  # its phases mean nothing, so its features are clustered
        scores, found = feature_scores(model, test)
    mask_picture.write(out / f"{name}.png", test, found, f"{name}: {budget}, ARI-BG {scores['ARI-BG']:.3f}")
    method = {0.5: "complex autoencoder", 0.0: "without chi", 1.0: "plain autoencoder + k-means"}[chi]
    return [record(f"{len(shapes)}Shapes", method, scores, budget, control=chi != 0.5)]


def batches(scenes: Scenes, seed: int, size: int = 64) -> Callable[[int], dict[str, Any]]:
    """Of step s the same pictures every time."""

    def of(step: int) -> dict[str, Any]:
        chosen = np.random.default_rng((seed, step)).integers(len(scenes.images), size=size)
        return {"obs": {"image": torch.from_numpy(scenes.images[chosen]).to(DEVICE)}}

    return of


def budget_of(curve: list[dict[str, float]]) -> str:
    return f"{curve[-1]['step']:.0f} steps, {curve[-1]['cpu_s'] / 60:.0f} CPU-minutes"


def phase_scores(model: ComplexAutoEncoder, test: Scenes) -> tuple[dict[str, float], Array]:
    """k-means on phases, pixels in two objects left out as the paper does."""
    found = in_pieces(
        lambda images, labels: model.segment(images, labels != OVERLAP).argmax(1), model, test.images, test.labels
    )
    return aris(test, found), found


def feature_scores(model: ComplexAutoEncoder, test: Scenes) -> tuple[dict[str, float], Array]:
    """k-means on the last hidden layer's magnitudes."""

    def clusters(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = F.interpolate(model.features(images), images.shape[2:], mode="bilinear").flatten(2)
        counts = (labels != OVERLAP).flatten(1)
        return k_means(features.transpose(1, 2), model.num_tokens, counts, restarts=4).view(labels.shape)

    found = in_pieces(clusters, model, test.images, test.labels)
    return aris(test, found), found


def in_pieces(work: Callable[..., torch.Tensor], model: Any, images: Array, labels: Array, size: int = 100) -> Array:
    """work(pictures as the model takes them, labels) over pieces of the set, joined."""
    pieces = []
    with torch.no_grad():
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            taken, _ = model.images({key: torch.from_numpy(images[part]).to(DEVICE) for key in model.keys})
            pieces.append(work(taken, torch.from_numpy(labels[part]).to(DEVICE)).cpu().numpy())
    return np.concatenate(pieces)


def aris(test: Scenes, found: Array) -> dict[str, float]:
    without, whole = ari(test.labels, found, background=False), ari(test.labels, found)
    return {"ARI-BG": float(without.mean()), "ARI+BG": float(whole.mean())}


# Slot attention on small Tetrominoes


def small_slots(out: Path, seed: int, name: str) -> list[Record]:
    """16x16 pictures of two pieces, a quarter of the weights and a rate of 3e-3: what a CPU can do in five minutes.

    Two slots, one a piece: the ground is black, which costs nothing to draw. With a third, three blobs make two pieces
    (FG-ARI 0.6 from 1000 to 4000 steps), for so small a decoder draws a blob long before it draws a piece.
    """
    train, test = small_tetrominoes(seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), slots=2, dim=32, width=16, hidden=64)
    rate = warm_up(3e-3, 200, 8000)
    training = ShortTraining(out / name, 8000, rate, 500, seed, compiled=COMPILES, clip=1.0, bf16=True)
    return slots(out, SMALL, model, training, train, test, batch=32)


def paper_slots(out: Path, seed: int, name: str) -> list[Record]:
    """The paper's network on 35x35 pictures of three pieces, for fewer steps; for a GPU."""
    train, test = tetrominoes(50_000, seed), tetrominoes(320, TEST + seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), slots=4)
    training = ShortTraining(out / name, 40_000, warm_up(4e-4, 2000), 2000, seed, compiled=True, bf16=True)
    return slots(out, TETROMINOES, model, training, train, test)


def slots(
    out: Path,
    dataset: str,
    model: SlotAutoEncoder,
    training: ShortTraining,
    train: Scenes,
    test: Scenes,
    batch: int = 64,
) -> list[Record]:
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def score() -> tuple[dict[str, float], Array]:
        found = in_pieces(lambda images, _: model.segment(images).argmax(1), model, test.images, test.labels)
        return pieces_scores(test, found), found

    curve = training.run(model, batches(train, training.seed, batch), lambda: score()[0])
    scores, found = score()
    budget, name = budget_of(curve), training.folder.name
    mask_picture.write(out / f"{name}.png", test, found, f"{name}: {budget}, FG-ARI {scores['FG-ARI']:.3f}")
    return [record(dataset, "slot attention", scores, budget)]


def small_tetrominoes(seed: int) -> tuple[Scenes, Scenes]:
    return tetrominoes(PICTURES, seed, 16, 3, 2), tetrominoes(320, TEST + seed, 16, 3, 2)


def objects_scores(test: Scenes, found: Array) -> dict[str, float]:
    foreground = ari(test.labels, found, background=False)
    return {"FG-ARI": float(foreground.mean()), "mIoU": float(np.nanmean(mean_iou(test.labels, found)))}


def pieces_scores(test: Scenes, found: Array) -> dict[str, float]:
    """Also of the pictures whose pieces all have one colour, where colour says nothing."""
    alike = [len(np.unique(image[label > 0], axis=0)) == 1 for image, label in zip(test.images, test.labels)]
    one_colour = ari(test.labels[alike], found[alike], background=False)
    return objects_scores(test, found) | {"FG-ARI, one colour": float(one_colour.mean())}


def slots_controls(out: Path) -> list[Record]:
    """What needs no learning: colours alone, and the same masks for every picture."""
    _, test = small_tetrominoes(0)
    colours = k_means(torch.from_numpy(test.images).flatten(1, 2).float(), 3).view(test.labels.shape).numpy()
    fixed = np.broadcast_to(np.arange(16) // 8, test.labels.shape)
    return [
        record(SMALL, "k-means of colours", pieces_scores(test, colours), "", control=True),
        record(SMALL, "fixed masks (two halves)", pieces_scores(test, fixed), "", control=True),
    ]


# Graph cuts


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
    """TokenCut and MaskCut over several encoders' patches, centred, against the best box in the middle.

    `others` are pictures of the same size whose patches say what is usual at each place.
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
        ways |= {"": {"centred": True}}  # the last is drawn, and MaskCut's
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
    """CorLoc of one box a picture, and its interval over pictures."""
    found = wilson(int(corloc(boxes, truths).sum()), len(truths))
    return {"CorLoc": found.value}, {"CorLoc": [found.low, found.high]}


def keys(encoder: PatchEncoder, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return encoder.patch_keys(images)


def salient(model: TokenCut, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return model.segment(images)[:, 0].long()


def all_masks(model: MaskCut, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return model.segment(images)


def as_labels(masks: Array) -> Array:
    """Masks (N, K + 1, H, W), the ground last, to labels (N, H, W): the ground 0, objects 1..K."""
    return (masks.argmax(1) + 1) % masks.shape[1]


def slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-")


def several_scores(masks: Array, test: Scenes, truths: list[Array]) -> dict[str, float]:
    """Masks (N, K + 1, H, W), the ground last: AP50 of boxes and AP50m of masks, first found first; FG-ARI, mIoU."""
    found = [[mask for mask in some[:-1] > 0 if mask.any()] for some in masks]
    boxes = [np.array([box_of(mask) for mask in some]) for some in found]
    true_masks = [np.stack([label == k for k in range(1, label.max() + 1)]) for label in test.labels]
    order = [1 / np.arange(1, len(some) + 1) for some in found]
    by_mask = [mask_iou(np.stack(some), true) for some, true in zip(found, true_masks)]
    scores = {"AP50": ap50(boxes, truths), "AP50m": average_precision(by_mask, order)}
    together = objects_scores(test, as_labels(masks))
    if test.labels.max() == 1:
        del together["FG-ARI"]  # which says nothing of one object
    return scores | together


def ap50(found: list[Array], truths: list[Array]) -> float:
    """Of boxes (M, 4) per picture, the first found first."""
    ious = [box_iou(boxes, truth) for boxes, truth in zip(found, truths)]
    return average_precision(ious, [1 / np.arange(1, len(boxes) + 1) for boxes in found])


def true_boxes(label: Array) -> Array:
    return np.array([box_of(label == k) for k in range(1, label.max() + 1)], np.float64).reshape(-1, 4)


def middle_box(height: int, width: int, side: float) -> Array:
    return np.array([width * (1 - side), height * (1 - side), width * (1 + side), height * (1 + side)]) / 2


def best_side(train: Scenes) -> float:
    """Side of the box in the middle, in sides of the picture, with the highest CorLoc on training pictures."""
    truths = [true_boxes(label) for label in train.labels]
    height, width = train.labels.shape[1:]
    sides = np.arange(0.2, 1.01, 0.05)
    rates = [corloc(np.tile(middle_box(height, width, side), (len(truths), 1)), truths).mean() for side in sides]
    return float(sides[int(np.argmax(rates))])


def cuts_sprites(out: Path) -> list[Record]:
    """One sprite on a ground: features of an oracle with more and more noise, then features that can be made."""
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
        "colour and gradients": PatchStatistics(test.space(), patch=4),
        "random ViT": small_vit(test, patch=4),
    }
    return records + cuts(out, dataset, test, train, encoders)


def cuts_many_sprites(out: Path) -> list[Record]:
    test, train = (sprites(200, seed) for seed in (TEST, 0))
    encoders: dict[str, PatchEncoder] = {
        "colour and gradients": PatchStatistics(test.space(), patch=4),
        "random ViT": small_vit(test, patch=4),
    }
    return cuts(out, "one to four sprites 64x64", test, train, encoders, objects=4)


def oracle(label: Array, noise: float, rng: np.random.Generator, dim: int = 64) -> Array:
    """(256, dim): every 4x4 patch the prototype of what fills most of it, one of a basis, and noise of this length."""
    rows = label.reshape(16, 4, 16, 4).transpose(0, 2, 1, 3).reshape(256, 16)
    most = (rows > 0).mean(1) > 0.5
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return basis[most.astype(int)] + rng.normal(0, noise / np.sqrt(dim), (256, dim))


HOMES = "home frames 128x128"


def small_vit(scenes: Scenes, patch: int = 8, seed: int = 0) -> ViT:
    """The same weights every time: as a control it must not depend on what was trained before."""
    torch.manual_seed(seed)
    return ViT(scenes.space(), patch, dim=96, depth=3, heads=3)


def home_scenes(out: Path) -> tuple[Scenes, Scenes, Scenes]:
    """Frames of test homes, of training homes to learn from, and of training homes that say what is usual."""
    return (
        kept(out / "homes-test.npz", lambda: home_frames(300, "test", 128)),
        kept(out / "homes-train.npz", lambda: home_frames(3000, "train", 64, worlds=32)),
        kept(out / "homes-others.npz", lambda: home_frames(300, "train", 128)),
    )


def cuts_homes(out: Path) -> list[Record]:
    """The controls: what the patches of a transformer that learnt nothing are worth, and colours."""
    test, train, others = home_scenes(out)
    encoders: dict[str, PatchEncoder] = {
        "random ViT": small_vit(test),
        "colour and gradients": PatchStatistics(test.space(), patch=8),
    }
    return cuts(out, HOMES, test, train, encoders, tuple(encoders), others=others)


def cuts_homes_dino(out: Path, seed: int) -> list[Record]:
    """By a DINO that taught itself on frames of training homes."""
    test, train, others = home_scenes(out)
    folder = out / f"dino-homes-{seed}"
    learned, budget = home_dino(folder, train, 600, seed)
    records = cuts(folder, HOMES, test, train, {"DINO": enlarged(learned, test)}, (), others=others)
    return [each | {"budget": budget} for each in records if "DINO" in each["method"]]


def home_dino(out: Path, train: Scenes, steps: int, seed: int) -> tuple[ViT, str]:
    """A small ViT under DINO on 64x64 frames of training homes; the teacher's network.

    Its views differ little: at crops of 0.4 and the usual changes of colour the student is still no better than a guess
    after 300 updates.
    """
    views = Views(Augmentation(scale=(0.75, 1.0), colour=0.1, brightness=0.1, grey=0.1, blur=0.0))
    settings = DINOSettings(
        prototypes=64, batch_norm=True, momentum=0.98, steps=steps, local_crops=0, frozen_updates=30
    )
    model = DINO(small_vit(train, seed=seed), views, settings).to(DEVICE)
    training = ShortTraining(out, steps, warm_up(1e-3, 50, steps), 50, seed, clip=1.0, bf16=True)
    curve = training.run(model, batches(train, seed))
    encoder = model.teacher.module.encoder
    assert isinstance(encoder, ViT)
    return encoder, budget_of(curve)


def enlarged(encoder: ViT, scenes: Scenes) -> ViT:
    """The same network for larger pictures: its learned positions are interpolated."""
    larger = small_vit(scenes)
    state = encoder.state_dict()
    state["position"] = F.interpolate(state["position"], larger.grid, mode="bicubic", align_corners=False)
    larger.load_state_dict(state)
    return larger


def cuts_roads(out: Path) -> list[Record]:
    test = kept(out / "roads-test.npz", lambda: road_pictures(100, "test"))
    train = kept(out / "roads-train.npz", lambda: road_pictures(100, "train"))
    encoders: dict[str, PatchEncoder] = {
        "colour and gradients": PatchStatistics(test.space(), patch=4),
        "random ViT": small_vit(test, patch=4),
    }
    return cuts(out, "roads from above 96x96", test, train, encoders, objects=4)


def normalised_cut(out: Path) -> list[Record]:
    """Segments of pictures of one sprite by colour and nearness alone, against colour alone."""
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


def parts(seeds: int) -> dict[str, Callable[[Path], list[Record]]]:
    """What there is to measure, cheap things first, then each training once for every seed."""
    found: dict[str, Callable[[Path], list[Record]]] = {
        "cuts-sprites": cuts_sprites,
        "cuts-many-sprites": cuts_many_sprites,
        "normalised-cut": normalised_cut,
        "slots-controls": slots_controls,
        "cuts-roads": cuts_roads,
        "cuts-homes": cuts_homes,
        "cae-plain": partial(complex_autoencoder, seed=0, steps=2000, name="cae-plain", chi=1.0),
        "cae-no-chi": partial(complex_autoencoder, seed=0, steps=5_000, name="cae-no-chi", chi=0.0),
    }
    for seed in range(seeds):
        found[f"cuts-homes-dino-{seed}"] = partial(cuts_homes_dino, seed=seed)
        found[f"slots-{seed}"] = partial(small_slots, seed=seed, name=f"slots-{seed}")
        name = f"cae-2shapes-{seed}"
        found[name] = partial(complex_autoencoder, seed=seed, steps=10_000, name=name)
        if DEVICE.type == "cuda":  # half a day on a CPU
            name = f"paper-slots-{seed}"
            found[name] = partial(paper_slots, seed=seed, name=name)
            name = f"cae-3shapes-{seed}"
            found[name] = partial(complex_autoencoder, seed=seed, steps=30_000, name=name, shapes=THREE_SHAPES)
    return found
