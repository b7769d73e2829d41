"""Seven self-supervised methods on ten shapes beside their controls, and how two of them collapse without their parts.

Protocol: images of 32 x 32 in which rotation, position, size and colour are nuisances; an encoder of five convolutions
with 64 features, for MAE a small vision transformer; frozen features are evaluated by logistic regression on 5,000
labels and by 20 nearest neighbours. Linear probes read MAE's features badly by design, so MAE is also evaluated by its
reconstruction of hidden patches and by fine-tuning on 2,000 labels. Every run is a line of `ssl.jsonl` as soon as it is
done, and does not run twice.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.perception import SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.scores.collapse import effective_rank
from embodia.perception.scores.probe import knn_probe, linear_probe, principal_axes, summaries
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.dino import DINOConfig
from embodia.perception.self_supervision.mae import MAE
from embodia.scripts.assembly.image_encoders import image_encoder
from embodia.scripts.assembly.kinds import IMAGE_ENCODER, LEARNER
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.self_supervision import PositivesConfig, method
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Ssl
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.self_supervision.attention_scores import TRAINING as ATTENTION
from embodia.scripts.bench.self_supervision.attention_scores import attention
from embodia.scripts.bench.self_supervision.mae_scores import FEW, UPDATES, fine_tuned, painting

TRAIN, TEST, LABELLED = 10_000, 2_000, 5_000  # images
TURNING = Augmentation((0.65, 1.1), 0.2, 180.0, flip=0.5, colour=0.3, brightness=0.2, grey=0.3, blur=0.0, noise=0.02)
CONV = configured(IMAGE_ENCODER, "conv", dim=64, width=16)
VIT = configured(IMAGE_ENCODER, "vit", dim=64, patch_size=4, depth=4, num_heads=4, pool="mean")
BASE = FitConfig(steps=1_000, batch_size=128, precision="bfloat16", device="cpu")
SLOW = replace(BASE, steps=3_000)  # without negatives or decorrelation, dimensions are learned one after the other
SGD = replace(BASE, steps=500, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4)
SCORES = {"linear": "linear probe", "knn": "20 nearest neighbours", "effective_rank": "effective rank"}
PIXELS, UNTRAINED = "PCA-64 of pixels", "untrained"
# Sinkhorn centring with few prototypes, because centring by the mean collapses to one dimension under these
# augmentations; a high student temperature, because the targets are hard to predict (at 0.1 the student stays worse
# than chance); no small crops, which hold no whole shape.
BALANCED = DINOConfig(
    prototypes=64,
    batch_norm=True,
    centring="sinkhorn",
    student_temperature=0.3,
    momentum=0.97,
    local_crops=0,
    frozen_updates=60,
)


@dataclass(frozen=True)
class Recipe:
    """A method and its training budget."""

    settings: Any
    training: FitConfig = BASE
    encoder: Any = CONV
    changes: Augmentation = TURNING


RECIPES = {
    "SimCLR": Recipe(configured(LEARNER, "simclr")),
    "VICReg": Recipe(configured(LEARNER, "vicreg")),
    "Barlow Twins": Recipe(configured(LEARNER, "barlow-twins")),
    "BYOL": Recipe(configured(LEARNER, "byol"), SLOW),
    # AdamW instead of the paper's SGD: 32 % after 500 updates; SGD at 0.1 was at chance after 450.
    "SimSiam": Recipe(configured(LEARNER, "simsiam", widths=(512, 128), bottleneck=128, predictor_rate=10.0), SLOW),
    "DINO": Recipe(BALANCED, SLOW),
    "MAE": Recipe(configured(LEARNER, "mae"), replace(SLOW, precision="float32"), VIT),
}
# Weaker than TURNING, under which complete DINO stays uniform too in so few updates.
MILD = replace(TURNING, scale=(0.8, 1.1), rotation=30.0, colour=0.1, brightness=0.1, grey=0.1)
QUICK = replace(BASE, steps=300, batch_size=64)
CENTRED = replace(BALANCED, centring="mean", student_temperature=0.1, frozen_updates=20)
COLLAPSE = {
    "SimSiam": Recipe(configured(LEARNER, "simsiam"), SGD),
    "SimSiam without stop-gradient": Recipe(configured(LEARNER, "simsiam", stop_gradient=False), SGD),
    "SimSiam without predictor": Recipe(configured(LEARNER, "simsiam", predict=False), SGD),
    "DINO": Recipe(CENTRED, QUICK, changes=MILD),
    "DINO without centring": Recipe(replace(CENTRED, centring="off"), QUICK, changes=MILD),
    "DINO without sharpening": Recipe(replace(CENTRED, teacher_temperature=0.1), QUICK, changes=MILD),
    "DINO without either": Recipe(replace(CENTRED, centring="off", teacher_temperature=0.1), QUICK, changes=MILD),
}


def measure(options: Ssl) -> list[Row]:
    """Probes of every method and control, attention of DINO, and a figure of the collapses."""
    torch.set_num_threads(1)
    out = options.folder()

    def shortened(recipe: Recipe) -> Recipe:
        return replace(recipe, training=replace(recipe.training, steps=3, batch_size=16)) if options.smoke else recipe

    lines = once(out / "ssl.jsonl", jobs(options.seeds, shortened, 3 if options.smoke else ATTENTION.steps, out))
    figure = plot([line for line in lines if "curve" in line], out / "collapse.png")
    print(f"figure: {figure}", file=sys.stderr)
    return rows(lines)


def jobs(
    seeds: int, change: Callable[[Recipe], Recipe], attention_steps: int, out: Path
) -> Iterator[tuple[str, Callable[[], Line]]]:
    """All runs, seed by seed, controls first. `change` adapts each recipe to the budget."""
    for seed in range(seeds):
        yield f"{PIXELS}, seed {seed}", partial(pca, seed)
        yield f"{UNTRAINED}, seed {seed}", partial(untrained, CONV, seed)
        yield f"{UNTRAINED} ViT, seed {seed}", partial(untrained, VIT, seed)
        for name, recipe in RECIPES.items():
            yield f"{name}, seed {seed}", partial(trained, change(recipe), seed)
    for name, recipe in COLLAPSE.items():
        yield f"collapse: {name}", partial(collapse, change(recipe))
    for name, steps in ((UNTRAINED, 0), ("DINO", attention_steps)):
        yield f"attention: {name}", partial(attention, steps, out)


def data(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and classes, test images and classes."""
    return *shapes10(TRAIN, 2 * seed), *shapes10(TEST, 2 * seed + 1)


def pca(seed: int) -> Line:
    train, labels, test, test_labels = data(seed)
    mean, axes = principal_axes(train / 255, 64)
    ours, theirs = ((pictures.flatten(1) / 255 - mean) @ axes for pictures in (train, test))
    return scored(ours, theirs, labels, test_labels)


def untrained(encoder: Any, seed: int) -> Line:
    train, labels, test, test_labels = data(seed)
    seed_all(seed)
    made = image_encoder(encoder, SPACE)
    return scored(summaries(made, {"image": train}), summaries(made, {"image": test}), labels, test_labels)


def scored(train: Tensor, test: Tensor, labels: Tensor, test_labels: Tensor) -> Line:
    few, few_labels = train[:LABELLED], labels[:LABELLED]
    return {
        "linear": linear_probe(few, few_labels, test, test_labels),
        "knn": knn_probe(few, few_labels, test, test_labels, standardised=False),
        "knn_standardised": knn_probe(few, few_labels, test, test_labels),
        "effective_rank": float(effective_rank(test)),
    }


def trained(recipe: Recipe, seed: int) -> Line:
    """Pretrain, then probe."""
    train, labels, test, test_labels = data(seed)
    learner, logged = pretrained(recipe, train, seed)
    encoder = learner.kept
    assert isinstance(encoder, ImageEncoder)
    found = scored(summaries(encoder, {"image": train}), summaries(encoder, {"image": test}), labels, test_labels)
    if isinstance(learner, MAE):
        few = (train[:FEW], labels[:FEW], test, test_labels, TURNING)
        found |= painting(learner, test[:500])
        for name, start in (("tuned", encoder), ("scratch", image_encoder(recipe.encoder, SPACE))):
            found[name] = fine_tuned(start, *few, updates=min(UPDATES, recipe.training.steps))
    return {**found, "steps": recipe.training.steps, "recipe": asdict(recipe), "last": logged[-1]}


def collapse(recipe: Recipe) -> Line:
    """Indicators of collapse during training."""
    _, logged = pretrained(recipe, data(0)[0], 0)
    names = ("embedding_std", "teacher_entropy", "effective_rank", "loss")
    curve = {name: [round(each[name], 4) for each in logged] for name in names if name in logged[0]}
    return {"curve": curve, "recipe": asdict(recipe)}


def pretrained(recipe: Recipe, train: Tensor, seed: int) -> tuple[SelfSupervised, list[dict[str, float]]]:
    """The trained learner, and what it logged at every update."""
    seed_all(seed)
    positives = PositivesConfig(augmentation=recipe.changes)
    learner = method(recipe.settings, recipe.encoder, SPACE, positives, recipe.training.steps)
    pictures = RandomBatches(lambda rng, n: {"obs": {"image": train[rng.integers(len(train), size=n)]}}, seed)
    now = fit(learner, pictures, replace(recipe.training, seed=seed, log_every=1))
    return learner, now.lines


# Rows and figure --------------------------------------------------------------------------------------------------


def rows(lines: Sequence[Line]) -> list[Row]:
    """Scores of each method with its controls, then MAE's own scores, attention and the ends of the collapses."""
    found = {name: probed(name, own) for name, own in by_seed(lines).items()}
    pixels, conv, vit = (found.pop(name) for name in (PIXELS, UNTRAINED, f"{UNTRAINED} ViT"))
    rows = [
        replace(each, controls=tuple(beside))
        for name, own in found.items()
        for each, *beside in zip(own, pixels, vit if RECIPES[name].encoder is VIT else conv)
    ]
    mae = by_seed(lines)["MAE"]
    hidden, tuned = "error on hidden patches (their mean has 1)", f"accuracy of fine-tuning on {FEW:,} labels"
    for ours, theirs, control, unit in (
        ("masked_mse", "interpolated_mse", "linear interpolation", hidden),
        ("tuned", "scratch", "the same network from scratch", tuned),
    ):
        beside = row(control, [[line[theirs]] for line in mae], unit)
        rows.append(row("MAE, reconstructed and fine-tuned", [[line[ours]] for line in mae], unit, controls=[beside]))
    looks = {line["name"].removeprefix("attention: "): line for line in lines if "iou" in line}
    unit = "IoU of the class token's attention and the sprite"
    beside = row("the same ViT untrained", [[looks[UNTRAINED]["iou"]]], unit)
    spent = looks["DINO"]["cpu_minutes"]
    rows.append(row("DINO on sprites", [[looks["DINO"]["iou"]]], unit, cpu_minutes=spent, controls=[beside]))
    return [*rows, *(ended(line) for line in lines if "curve" in line)]


def probed(name: str, lines: Sequence[Line]) -> list[Row]:
    """Means over seeds of the probes' accuracies, and the effective rank."""
    spent = minutes(lines)
    return [row(name, [[line[key]] for line in lines], unit, cpu_minutes=spent) for key, unit in SCORES.items()]


def ended(line: Line) -> Row:
    """The indicator of collapse after the last update."""
    name = line["name"].removeprefix("collapse: ")
    unit = "embedding_std" if name.startswith("SimSiam") else "teacher_entropy"
    said = f"{unit} after {len(line['curve'][unit])} updates"
    return row(f"collapse: {name}", [[line["curve"][unit][-1]]], said, cpu_minutes=line["cpu_minutes"])


def plot(lines: list[Line], path: Path) -> Path:
    """Plot the spread of SimSiam's embeddings on the sphere, and the entropy of DINO's teacher."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    whole = float(np.log(CENTRED.prototypes))
    panels = (
        (left, "SimSiam", "embedding_std", "deviation on the sphere x $\\sqrt{d}$"),
        (right, "DINO", "teacher_entropy", "entropy of the teacher [nats]"),
    )
    for axes, name, indicator, meaning in panels:
        for line in lines:
            title = line["name"].removeprefix("collapse: ")
            if title.split(" without")[0] == name:
                values = np.asarray(line["curve"][indicator])
                window = min(9, len(values))
                smooth = np.convolve(values, np.ones(window) / window, "valid")
                style = "--" if title.endswith("either") else "-"  # it coincides with another
                x, label = np.arange(len(smooth)) + window // 2, title.removeprefix(f"{name} ").strip()
                axes.plot(x, smooth, style, label=label)
        axes.set(title=name, xlabel="update", ylabel=meaning)
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
    # At 0 one prototype takes everything; at the line all are equally likely.
    right.axhline(whole, color="grey", linestyle=":", label=f"log {CENTRED.prototypes}: uniform")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
