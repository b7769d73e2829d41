"""Updates per second of learned world models: on the CPU, and on a GPU where there is one, as is and tuned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from embodia.scripts.bench.harness.stopwatch import middle, rate

LENGTH, WORLDS, UPDATES = 16, 16, 10
"""Rows of one batch: steps, and episodes side by side; updates of one measurement."""


@dataclass(frozen=True)
class Machine:
    """Where and how a model learns."""

    device: str
    bf16: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return self.device + ", bfloat16" * self.bf16 + ", compiled" * self.compiled


def machines() -> list[Machine]:
    gpu = [Machine("cuda"), Machine("cuda", bf16=True, compiled=True)] if torch.cuda.is_available() else []
    return [Machine("cpu"), *gpu]


def measure(models: Mapping[str, Any], repeats: int) -> list[dict[str, Any]]:
    """The middle of `repeats`, and how many times the CPU's; the batch is noise, which does not change the time."""
    print(f"updates per second, batches of {LENGTH} steps x {WORLDS} worlds")
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        cpu = 0.0
        for machine in machines():
            work = learning(model, machine)
            work()  # not counted: a GPU compiles in it
            found = middle([rate(work) for _ in range(repeats)]).wall
            cpu = cpu or found
            gain = "" if machine.device == "cpu" else f", {found / cpu:.1f} x the CPU's"
            print(f"  {name:<20} {machine!s:<25} {found:8.1f}{gain}", flush=True)
            rows.append({"model": name, **vars(machine), "updates_per_second": found, "ratio": found / cpu})
    return rows


def learning(model: Any, machine: Machine) -> Callable[[], int]:
    """Some updates of a model on one batch; how many."""
    model.to(machine.device).train()
    loss = torch.compile(model.loss) if machine.compiled else model.loss
    rows = batch(machine.device)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad])

    def work() -> int:
        for _ in range(UPDATES):
            optimizer.zero_grad()
            with torch.autocast(machine.device, torch.bfloat16, enabled=machine.bf16):
                found, _ = loss(rows)
            found.backward()
            optimizer.step()
        found.item()  # waits for the device
        return UPDATES

    return work


def batch(device: str) -> dict[str, Any]:
    """Rows (T, B, ...) of noise: three numbers seen, one done."""
    no = torch.zeros(LENGTH, WORLDS, dtype=torch.bool, device=device)
    seen, reward = torch.randn(LENGTH, WORLDS, 3, device=device), torch.randn(LENGTH, WORLDS, device=device)
    action = torch.rand(LENGTH, WORLDS, 1, device=device)
    return {"obs": {"state": seen}, "action": action, "reward": reward, "first": no, "terminal": no}
