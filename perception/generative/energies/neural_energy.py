"""A neural energy trained by Langevin sampling with a replay buffer (IGEBM, Du and Mordatch 2019), and its classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative import Condition
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.energies import EnergyModel
from embodia.perception.generative.mcmc.density import check_step_size, score_of
from embodia.perception.generative.mcmc.langevin import langevin
from embodia.perception.generative.noise import per_sample, uniform


class NeuralEnergy(EnergyModel):
    """E(x, y) = -f_y(x) with a network f, and E(x) = -logsumexp_y f_y(x) (JEM, Grathwohl et al. 2020).

    Without classes, f has one output and E(x) = -f(x). The loss is the mean energy of data minus that of chains, a
    penalty on squared energies, and with classes the cross-entropy of the class given x.

    Args:
        network: x (B, *event) -> (B, K), K = max(classes, 1).
        event: shape of one sample.
        classes: number of classes; 0 for none.
        bounds: smallest and largest coordinate of a sample; chains start uniformly between them and stay there.
        step_size: of Langevin dynamics.
        steps: Langevin steps per update.
        temperature: of the chains' noise; 1 samples the density exp(-E), less stays closer to its modes.
        replay: number of chains kept in the buffer.
        restart: share of chains that start anew from noise instead of the buffer.
        penalty: weight of the squared energies.
        classify: weight of the cross-entropy; 0 leaves the classes to the energy alone.
        data_noise: standard deviation of noise added to data, which smooths the energy.
        sampling_steps: Langevin steps of a sample.
    """

    def __init__(
        self,
        network: nn.Module,
        event: Sequence[int],
        classes: int = 0,
        bounds: tuple[float, float] = (-1.0, 1.0),
        step_size: float = 0.01,
        steps: int = 20,
        temperature: float = 1.0,
        replay: int = 10_000,
        restart: float = 0.05,
        penalty: float = 0.01,
        classify: float = 1.0,
        data_noise: float = 0.0,
        sampling_steps: int = 500,
    ):
        super().__init__()
        check_step_size(step_size)
        if not bounds[0] < bounds[1] or min(steps, replay, sampling_steps) < 1 or not 0 <= restart <= 1:
            raise ValueError(
                f"bounds {bounds}, {steps} and {sampling_steps} steps, replay {replay}, restart {restart}: the bounds "
                "must rise, steps and replay be positive, and restart lie between 0 and 1"
            )
        self.network, self.event, self.classes, self.bounds = network, tuple(event), classes, bounds
        self.step_size, self.steps, self.temperature = step_size, steps, temperature
        self.restart, self.penalty, self.classify, self.data_noise = restart, penalty, classify, data_noise
        self.sampling_steps = sampling_steps
        self.replay: Tensor
        self.replay_labels: Tensor
        self.register_buffer("replay", self.noise(replay))
        self.register_buffer("replay_labels", torch.arange(replay) % max(classes, 1))

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform between the bounds, (n, *event)."""
        low, high = self.bounds
        device = next(self.network.parameters()).device
        return low + (high - low) * uniform((n, *self.event), generator, device)

    def logits(self, x: Tensor) -> Tensor:
        """f(x), (B, K): minus the energy of x with each class, and the class logits given x."""
        found = self.network(x)
        expected = len(x), max(self.classes, 1)
        if found.shape != expected:
            raise ValueError(f"the energy network gave the shape {tuple(found.shape)}; {expected} is needed")
        return found

    def energy(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Energy of x (B, *event), (B,); with labels int64 (B,), that of x together with its label."""
        logits = self.logits(x)
        return -(logits.logsumexp(1) if label is None else logits.gather(1, label[:, None])[:, 0])

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["x"] + self.data_noise * torch.randn_like(batch["x"])
        label = self.checked(batch.get("condition"), len(x))
        if self.classes and label is None:
            raise ValueError("this energy has classes; give the labels of the data as the condition")
        negative, negative_label = self.negatives(len(x))
        logits = self.logits(torch.cat([x, negative]))
        labels = torch.cat([torch.zeros_like(negative_label) if label is None else label, negative_label])
        true, false = (-logits.gather(1, labels[:, None])[:, 0]).chunk(2)
        loss = true.mean() - false.mean() + self.penalty * (true.square() + false.square()).mean()
        numbers = {"energy_gap": (false.mean() - true.mean()).detach()}
        if label is not None:
            loss = loss + self.classify * F.cross_entropy(logits[: len(x)], label)
            numbers["accuracy"] = (logits[: len(x)].argmax(1) == label).float().mean()
        return loss, numbers

    def negatives(self, n: int) -> tuple[Tensor, Tensor]:
        """n chains of the buffer, some of them started anew, after `steps` steps; with their labels."""
        which = torch.randint(len(self.replay), (n,), device=self.replay.device)
        x, label = self.replay[which], self.replay_labels[which]
        anew = torch.rand(n, device=x.device) < self.restart
        x = torch.where(per_sample(anew, x), self.noise(n), x)
        x = self.moved(x, label if self.classes else None, self.steps)
        if self.training:
            self.replay[which] = x
        return x, label

    def moved(
        self,
        x: Tensor,
        label: Tensor | None,
        steps: int,
        generator: torch.Generator | None = None,
        done: int = 0,
    ) -> Tensor:
        """Chains at x after `steps` Langevin steps, with the network in evaluation mode."""
        score = score_of(lambda x: -self.energy(x, label))
        training = self.network.training
        self.network.eval()
        x = langevin(score, x, self.step_size, steps, generator, done, self.temperature, self.bounds)
        self.network.train(training)
        return x

    def chain(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Langevin dynamics from `start` (n, *event), by default from uniform noise."""
        label = self.checked(condition, n)
        x = self.noise(n, generator) if start is None else start
        for step in range(steps or self.sampling_steps):
            x = self.moved(x, label, 1, generator, step)
            yield x

    def checked(self, condition: Condition | None, n: int) -> Tensor | None:
        """The labels, if there are n of known classes; ValueError otherwise."""
        if condition is None:
            return None
        check_rows(condition, n)
        if not self.classes or not isinstance(condition, Tensor):
            raise ValueError("this energy takes no condition" if not self.classes else "give labels as int64 (B,)")
        if condition.min() < 0 or condition.max() >= self.classes:
            raise ValueError(f"labels reach {condition.max().item()}; the model knows classes 0 to {self.classes - 1}")
        return condition
