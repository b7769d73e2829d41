"""Energy models against exact sums and known laws: Boltzmann machines, variational inference, neural energies."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative.energies.annealed_importance_sampling import data_bias, rbm_log_partition
from embodia.perception.generative.energies.deep_boltzmann_machine import DeepBoltzmannMachine
from embodia.perception.generative.energies.graphical_model import Marginals, enumerated, ising
from embodia.perception.generative.energies.mean_field import mean_field
from embodia.perception.generative.energies.message_passing import belief_propagation
from embodia.perception.generative.energies.networks import energy_network
from embodia.perception.generative.energies.neural_energy import NeuralEnergy
from embodia.perception.generative.energies.rbm import RBM
from embodia.perception.generative.mcmc.chains import run_chains
from embodia.perception.generative.mcmc.gibbs import Gibbs
from embodia.perception.generative.toy_densities import eight_gaussians
from embodia.perception.pictures.bars_and_stripes import bars_and_stripes, valid_share
from embodia.perception.pictures.shapes10 import shapes10
from embodia.perception.scores.auroc import auroc
from embodia.perception.scores.mmd import mmd2
from embodia.perception.scores.modes import mode_weights, total_variation
from embodia.scripts.bench.generative.chains import samplers
from embodia.scripts.bench.generative.guidance import load_digits, nearest_accuracy
from embodia.scripts.bench.generative.training import Asked, Budget, Draw, Numbers, drawing, seeded, trained

LAW = eight_gaussians()
BOX = 4.0
"""Chains on the eight Gaussians start uniformly within this distance of the origin, on each axis."""
PATTERNS = bars_and_stripes(4)
RBM_UPDATES, RBM_RATE = 12_000, 0.03
DBM_UPDATES, DBM_RATE = 3000, 0.01
EBM_UPDATES, DIGIT_UPDATES = 1000, 1000


def rows_of(table: Tensor, label: Tensor | None = None) -> Draw:
    """Batches of random rows of a table, with their labels."""

    def draw(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rng.integers(0, len(table), n))
        return {"x": table[chosen]} if label is None else {"x": table[chosen], "condition": label[chosen]}

    return draw


def all_patterns(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
    """All bars and stripes equally often."""
    return {"x": PATTERNS.repeat(n // len(PATTERNS), 1)}


# Boltzmann machines -----------------------------------------------------------------------------------------------


def rbm(seed: int, budget: Budget) -> Numbers:
    """Exact log-likelihood of the 30 bars and stripes of 4x4 under machines trained by CD-1, CD-10 and PCD-10."""
    base = data_bias(PATTERNS)
    independent = torch.distributions.Bernoulli(logits=base).log_prob(PATTERNS).sum(1).mean().item()
    numbers: Numbers = {"entropy": -math.log(len(PATTERNS)), "independent pixels": independent}
    for name, gibbs_steps, chains in (("cd-1", 1, 0), ("cd-10", 10, 0), ("pcd-10", 10, 100)):
        torch.manual_seed(seed)
        model = RBM(16, 16, gibbs_steps=gibbs_steps, persistent=chains)
        trained(model, rows_of(PATTERNS), budget.steps(RBM_UPDATES), seed, 30, RBM_RATE)
        x = model.sample(budget.samples(1000), generator=seeded(seed), steps=budget.steps(1000))
        found = rbm_log_partition(model, base, budget.samples(100), 1000, seeded(100 + seed))
        numbers |= {
            name: model.log_likelihood(PATTERNS).mean().item(),
            f"{name} valid": valid_share(x),
            f"{name} ais error": abs(found.log_ratio - model.log_partition().item()),
        }
        budget.keep(f"rbm-{seed}-{name}", x=x[:100].view(-1, 1, 4, 4), weight=model.weight)
    return numbers


def ais(seed: int, budget: Budget) -> Numbers:
    """Error of the log-likelihood of binary digits by annealed importance sampling, where it is known [nats]."""
    digits = (load_digits(seed)[0].flatten(1) > 0).float()
    torch.manual_seed(seed)
    model = RBM(64, 8, persistent=100)
    trained(model, rows_of(digits), budget.steps(2000), seed, 100, 0.01)
    base, exact = data_bias(digits), model.log_partition().item()
    numbers: Numbers = {"exact nats": model.log_likelihood(digits).mean().item()}
    for temperatures in (2, 100, 1000):
        found = rbm_log_partition(model, base, budget.samples(100), temperatures, seeded(seed))
        numbers[f"ais {temperatures}"] = abs(found.log_ratio - exact)
    large = RBM(64, 128, gibbs_steps=5, persistent=100)
    trained(large, rows_of(digits), budget.steps(2000), seed, 100, 0.005)
    found = rbm_log_partition(large, base, budget.samples(100), 1000, seeded(seed))
    numbers["128 hidden nats"] = large.log_likelihood(digits, torch.tensor(found.log_ratio)).mean().item()
    chain = list(large.chain(30, generator=seeded(seed), steps=budget.steps(1000)))
    shown = [chain[i] for i in np.geomspace(1, len(chain), 6).astype(int) - 1]
    budget.keep(f"rbm-digits-{seed}", chain=torch.stack(shown).view(6, -1, 1, 8, 8))
    return numbers


def deep_boltzmann(seed: int, budget: Budget) -> Numbers:
    """A deep machine on bars and stripes: exact likelihood, and posterior marginals by mean field beside exact ones."""
    torch.manual_seed(seed)
    model = DeepBoltzmannMachine(16, (12, 8), 300)
    numbers: Numbers = {"untrained nats": model.log_likelihood(PATTERNS).mean().item()}
    trained(model, all_patterns, budget.steps(DBM_UPDATES), seed, 300, DBM_RATE)
    exact = torch.cat(model.posterior(PATTERNS), 1)
    for sweeps in (1, 10, 50):
        q = model.mean_field(PATTERNS, sweeps)
        numbers[f"posterior error, {sweeps} sweeps"] = (torch.cat(q, 1) - exact).abs().mean().item()
    likelihood = model.log_likelihood(PATTERNS).mean().item()
    bound = (model.bound(PATTERNS, *q).double() - model.log_partition()).mean().item()
    x = model.sample(budget.samples(1000), generator=seeded(seed), steps=budget.steps(1000))
    marginal = (x.mean(0) - PATTERNS.mean(0)).abs().mean().item()
    numbers |= {"nats": likelihood, "bound nats": bound, "valid": valid_share(x), "pixel marginal error": marginal}
    return numbers | {"posterior error of 0.5": (exact - 0.5).abs().mean().item()}


def inference(seed: int, budget: Budget) -> Numbers:
    """Mean absolute error of the marginals of 3x4 Ising models, and of log Z, by coupling; and on a chain."""
    numbers: Numbers = {}
    for name, rows, columns, strength in (("weak", 3, 4, 0.3), ("strong", 3, 4, 1.0), ("chain", 1, 12, 1.0)):
        edges = rows * (columns - 1) + columns * (rows - 1)
        generator = seeded(seed)
        model = ising(
            rows,
            columns,
            strength * torch.randn(edges, generator=generator),
            0.3 * torch.randn(rows * columns, generator=generator),
        )
        exact = enumerated(model)
        found: dict[str, Marginals] = {
            "mean field": mean_field(model),
            "belief propagation": belief_propagation(model, damping=0.3),
        }
        for method, each in found.items():
            numbers[f"{method}, {name}"] = (each.single - exact.single).abs().mean().item()
            numbers[f"{method} log z, {name}"] = each.log_partition - exact.log_partition
        start = torch.randint(2, (200, rows * columns), generator=generator)
        kernel = Gibbs(model.gibbs_updates())
        draws = run_chains(kernel, start, budget.steps(100), budget.steps(100), 1, generator).x
        numbers[f"gibbs, {name}"] = (draws.double().mean((0, 1)) - exact.single[:, 1]).abs().mean().item()
    return numbers


# Neural energies --------------------------------------------------------------------------------------------------


def rings(seed: int, budget: Budget) -> Numbers:
    """A neural energy of eight Gaussians: chains from noise, its density on a grid, and training without a buffer."""
    data = LAW.sample(budget.samples(2000), seeded(100 + seed))
    grid = torch.cartesian_prod(*[torch.linspace(-BOX, BOX, 161)] * 2)
    exact = LAW.log_prob(grid).softmax(0)
    numbers: Numbers = {"data against data": mmd2(LAW.sample(len(data), seeded(300 + seed)), data)}
    for name, restart in (("ebm", 0.05), ("no buffer", 1.0)):
        torch.manual_seed(seed)
        body = energy_network((2,), 1, "mlp", 128, 3)
        model = NeuralEnergy(body, (2,), 0, (-BOX, BOX), 0.01, 20, restart=restart, penalty=0.0005)
        trained(model, drawing(LAW), budget.steps(EBM_UPDATES), seed, 128, 3e-3, 0.99)
        x = model.sample(len(data), generator=seeded(200 + seed), steps=budget.steps(200))
        with torch.no_grad():
            energy = model.energy(grid)
            gap = model.energy(torch.zeros(1, 2)) - model.energy(LAW.means).max()
        numbers |= {
            name: mmd2(x, data),
            f"{name} smallest mode": mode_weights(x, LAW.means).min().item(),
            f"{name} grid distance": total_variation((-energy).softmax(0), exact),
            f"{name} centre above modes": gap.item(),
        }
        budget.keep(f"ebm-{seed}-{name.replace(' ', '-')}", x=x, energy=energy.view(161, 161), data=data)
    return numbers


class Classifier(nn.Module):
    """The control of the energy: the same network, trained on the classes alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        return F.cross_entropy(self.network(batch["x"]), batch["condition"]), {}


def energy_digits(seed: int, budget: Budget) -> Numbers:
    """Class-conditional energies of digits: accuracy, pictures of other things told apart, samples of each class."""
    x, label, held, held_label = load_digits(seed)
    others = grey_shapes(seed, len(held))
    numbers: Numbers = {"digits of data": nearest_accuracy(held, held_label, x, label)}

    def judge(name: str, network: nn.Module) -> None:
        with torch.no_grad():
            inside, outside = network(held), network(others)
        numbers[f"{name} accuracy"] = (inside.argmax(1) == held_label).float().mean().item()
        numbers[f"{name} auroc"] = auroc(inside.logsumexp(1), outside.logsumexp(1))
        numbers[f"{name} auroc, softmax"] = auroc(inside.softmax(1).amax(1), outside.softmax(1).amax(1))

    def network() -> nn.Module:
        torch.manual_seed(seed)
        return energy_network((1, 8, 8), 10, "mlp", 256, 2)

    steps = budget.steps(DIGIT_UPDATES)
    model = NeuralEnergy(network(), (1, 8, 8), 10, temperature=0.1, data_noise=0.05, replay=1000)
    trained(model, rows_of(x, label), steps, seed, 64, 1e-3)
    judge("energy", model.network)
    control = Classifier(network())
    trained(control, rows_of(x, label), steps, seed, 64, 1e-3)
    judge("classifier", control.network)
    wanted = torch.arange(budget.samples(500)) % 10
    drawn = model.sample(len(wanted), wanted, seeded(seed), budget.steps(500))
    budget.keep(f"ebm-digits-{seed}", x=drawn[:80], buffer=model.replay[:80])
    return numbers | {"samples in their class": nearest_accuracy(drawn, wanted, x, label)}


def grey_shapes(seed: int, n: int) -> Tensor:
    """Coloured shapes as grey pictures of 8x8 of -1 to 1, (n, 1, 8, 8)."""
    pictures = shapes10(n, seed)[0].float().mean(3, keepdim=True).movedim(3, 1) / 127.5 - 1
    return F.avg_pool2d(pictures, 4)


# The rows ---------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[int, Budget], Numbers]] = {
    "rbm": rbm,
    "ais": ais,
    "deep-boltzmann": deep_boltzmann,
    "inference": inference,
    "samplers": samplers,
    "ebm-rings": rings,
    "ebm-digits": energy_digits,
}


ERROR, VALID, AUROC, MMD = "mean error of the marginals", "share of valid samples", "AUROC", "MMD^2"
ROWS = (
    Asked(
        "rbm",
        "rbm",
        "pcd-10",
        "nats",
        {
            "": ("cd-10", "cd-1", "independent pixels", "entropy"),
            VALID: ("pcd-10 valid", "cd-10 valid", "cd-1 valid"),
            "error of AIS [nats]": ("pcd-10 ais error", "cd-10 ais error", "cd-1 ais error"),
        },
    ),
    Asked(
        "ais",
        "ais",
        "ais 1000",
        "nats of error",
        {"": ("ais 100", "ais 2"), "nats": ("exact nats", "128 hidden nats")},
        0.0,
    ),
    Asked(
        "deep boltzmann machine",
        "deep-boltzmann",
        "nats",
        "nats",
        {
            "": ("bound nats", "untrained nats"),
            VALID: ("valid",),
            ERROR: (
                "pixel marginal error",
                *(f"posterior error, {sweeps} sweeps" for sweeps in (50, 10, 1)),
                "posterior error of 0.5",
            ),
        },
    ),
    Asked(
        "mean field",
        "inference",
        "mean field, weak",
        ERROR,
        {
            "": (
                "belief propagation, weak",
                "gibbs, weak",
                *(
                    f"{method}, {graph}"
                    for graph in ("strong", "chain")
                    for method in ("mean field", "belief propagation", "gibbs")
                ),
            ),
            "log Z less the exact one [nats]": tuple(
                f"{method} log z, {graph}"
                for graph in ("weak", "strong", "chain")
                for method in ("mean field", "belief propagation")
            ),
        },
    ),
    Asked(
        "hmc", "samplers", "hmc order", "order", {"energy error": ("hmc error, step 0.16", "hmc error, step 0.02")}, 2.0
    ),
    Asked(
        "mala",
        "samplers",
        "mala variance",
        "variance",
        {
            "": ("ula variance",),
            "largest error of a quantile, in standard deviations": tuple(
                f"{kernel} quantile error" for kernel in ("mala", "ula", "hmc", "metropolis")
            ),
        },
        1.0,
    ),
    Asked(
        "effective sample size",
        "samplers",
        "hmc efficiency",
        "effective draws per draw",
        {
            "": ("mala efficiency", "gibbs efficiency", "metropolis efficiency"),
            "R-hat": tuple(f"{kernel} r-hat" for kernel in ("hmc", "mala", "gibbs", "metropolis")),
        },
    ),
    Asked(
        "ebm rings",
        "ebm-rings",
        "ebm",
        MMD,
        {
            "": ("no buffer", "data against data"),
            "weight of the smallest of 8 modes": ("ebm smallest mode", "no buffer smallest mode"),
            "total variation of the density on a grid": ("ebm grid distance", "no buffer grid distance"),
            "energy of the centre above the modes": ("ebm centre above modes", "no buffer centre above modes"),
        },
    ),
    Asked(
        "energy digits",
        "ebm-digits",
        "energy accuracy",
        "accuracy",
        {
            "": ("classifier accuracy", "samples in their class", "digits of data"),
            AUROC: tuple(f"{model} auroc{score}" for model in ("energy", "classifier") for score in ("", ", softmax")),
        },
    ),
)
