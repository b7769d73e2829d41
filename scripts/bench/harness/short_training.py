"""A training of minutes to hours inside a measurement, which goes on where it was stopped."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import torch

from embodia.agents.training.pretraining import check_loss
from embodia.perception import SelfSupervised

Batch = dict[str, Any]
STATE, CURVE = "training.pt", "curve.jsonl"


@dataclass(frozen=True)
class ShortTraining:
    """Adam on a self-supervised encoder. Step s draws from generators seeded with (seed, s), so resuming is exact.

    Not `agents.training.pretraining`, whose options are the command line's: no decay, and rates and measures are
    given as functions.
    """

    folder: Path
    """Keeps `training.pt` and `curve.jsonl` (step, loss, CPU seconds and what `evaluate` measures)."""
    steps: int
    rate: Callable[[int], float]
    """Learning rate of a step, counted from 0."""
    every: int = 500
    """Steps between two lines of the curve, each with a checkpoint."""
    seed: int = 0
    clip: float | None = None
    """Greatest norm of the gradient."""
    compiled: bool = False
    """Compile the loss first; on a CPU this needs a C++ compiler."""
    bf16: bool = False
    """Convolutions and linear layers in bfloat16."""

    def run(
        self, model: SelfSupervised, batch: Callable[[int], Batch], evaluate: Callable[[], dict[str, float]] = dict
    ) -> list[dict[str, float]]:
        """Train up to `steps` where the model is, from where the folder stands; the curve.

        Args:
            batch: what step s learns from.
            evaluate: measured with the model in evaluation mode.

        Raises:
            NonFinite: where the loss is not a number; what was kept before stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(learning or model.parameters(), lr=self.rate(0))
        done, cpu, curve = self._resume(model, optimizer)
        device = next(model.parameters()).device
        started = process_time()
        loss_of = torch.compile(model.loss) if self.compiled else model.loss
        for step in range(done, self.steps):
            torch.manual_seed(self.seed * 10**9 + step)
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                loss, _ = loss_of(batch(step))
            loss.backward()
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
            optimizer.step()
            model.after_update()
            if (step + 1) % self.every and step + 1 < self.steps:
                continue
            check_loss(loss.item(), step + 1)
            model.eval()
            with torch.no_grad():
                scores = evaluate()
            model.train()
            spent = cpu + process_time() - started
            curve.append({"step": step + 1, "loss": loss.item(), "cpu_s": round(spent, 1), **scores})
            self._keep(model, optimizer, step + 1, spent, curve)
            print(f"{self.folder.name}: " + ", ".join(f"{k} {v:.4g}" for k, v in curve[-1].items()), file=sys.stderr)
        model.eval()
        return curve

    def _resume(
        self, model: SelfSupervised, optimizer: torch.optim.Optimizer
    ) -> tuple[int, float, list[dict[str, float]]]:
        path = self.folder / STATE
        model.train()
        if not path.exists():
            return 0, 0.0, []
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state["step"], state["cpu_s"], lines(self.folder / CURVE, state["step"])

    def _keep(
        self,
        model: SelfSupervised,
        optimizer: torch.optim.Optimizer,
        step: int,
        cpu: float,
        curve: Iterable[dict[str, float]],
    ) -> None:
        """Written aside and renamed: a kill leaves the one before."""
        (self.folder / CURVE).write_text("".join(json.dumps(line) + "\n" for line in curve))
        aside = self.folder / (STATE + ".new")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "cpu_s": cpu}
        torch.save(state, aside)
        os.replace(aside, self.folder / STATE)


def lines(path: Path, step: int) -> list[dict[str, float]]:
    """The curve up to a step."""
    return [line for text in path.read_text().splitlines() if (line := json.loads(text))["step"] <= step]


def warm_up(peak: float, steps: int, end: int | None = None) -> Callable[[int], float]:
    """Linear from 0 over `steps`, then constant; with `end`, over the last quarter before it linear to 0."""

    def rate(step: int) -> float:
        rising = step / steps if steps else 1.0
        falling = 4 * (1 - step / end) if end else 1.0
        return peak * min(1.0, rising, falling)

    return rate


def ticks(what: str, updates: int) -> Iterator[int]:
    """1, 2, ..., updates, said now and then."""
    said = time.monotonic()
    for step in range(1, updates + 1):
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"{what}: {step} of {updates} updates", file=sys.stderr, flush=True)
        yield step
