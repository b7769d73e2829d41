"""Flow matching, a normalizing flow and a GAN on eight Gaussians: distance to data, modes found, likelihood."""

import torch

from embodia.perception.generative import Generative
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.flows.flow_matching import FlowMatching
from embodia.perception.generative.flows.gan import GAN
from embodia.perception.generative.flows.real_nvp import RealNVP
from embodia.perception.generative.toy_densities import eight_gaussians
from embodia.perception.scores.mmd import mmd2
from embodia.perception.scores.modes import mode_weights, modes_found, near_modes
from embodia.scripts.bench.generative.training import Budget, Numbers, drawing, seeded, trained

LAW = eight_gaussians()


def neighbours(seed: int, budget: Budget) -> Numbers:
    torch.manual_seed(seed)
    models: dict[str, tuple[Generative, int]] = {
        "flow matching": (FlowMatching(MLPDenoiser((2,), 128, 3), (2,)), 2000),
        "normalizing flow": (RealNVP((2,), 8, (64, 64)), 1200),
        "gan": (GAN((2,), 8, 128), 2000),
    }
    n, points = budget.samples(2000), {}
    numbers: Numbers = {}
    data = LAW.sample(n, seeded(100 + seed))
    for name, (model, steps) in models.items():
        trained(model, drawing(LAW), budget.steps(steps), seed)
        x = model.sample(n, generator=seeded(seed))
        points[name.replace(" ", "_")] = x
        numbers |= {
            f"{name} mmd": mmd2(x, data),
            f"{name} modes": modes_found(x, LAW.means),
            f"{name} smallest mode": mode_weights(x, LAW.means).min().item(),
            f"{name} near modes": near_modes(x, LAW.means, 0.45),
        }
    flow = models["normalizing flow"][0]
    assert isinstance(flow, RealNVP)
    with torch.no_grad():
        numbers["normalizing flow nats"] = flow.log_prob(data).mean().item()
    budget.keep(f"neighbours-{seed}", data=data, **points)
    return numbers | {"nats of the truth": LAW.log_prob(data).mean().item()}
