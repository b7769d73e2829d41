"""Updates per second of world models: on the CPU, and on a GPU if there is one, in float32 and in bfloat16 compiled."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate, timing

LENGTH, WORLDS, UPDATES = 16, 16, 10
"""Steps and episodes of a batch; updates per measurement."""


@dataclass(frozen=True)
class Machine:
    """Device and precision of a training."""

    device: str
    bf16: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return self.device + ", bfloat16" * self.bf16 + ", compiled" * self.compiled


def machines() -> list[Machine]:
    gpu = [Machine("cuda"), Machine("cuda", bf16=True, compiled=True)] if torch.cuda.is_available() else []
    return [Machine("cpu"), *gpu]


def measure(models: Mapping[str, Any], updates: int, repetitions: int) -> list[Row]:
    """Updates per second on each machine. The batch is noise, which does not change the time."""
    rows: list[Row] = []
    for name, model in models.items():
        for machine in machines():
            print(f"{name}, updates, {machine}", file=sys.stderr)
            work = learning(model, machine, updates)
            work()  # not counted: a GPU compiles in it
            unit = f"updates/s, {machine}"
            rows.append(timing(name, [rate(work).wall for _ in range(repetitions)], unit))
    return rows


def learning(model: Any, machine: Machine, updates: int) -> Callable[[], int]:
    """Return a function that updates a model on one batch and returns the number of updates."""
    model.to(machine.device).train()
    loss = torch.compile(model.loss) if machine.compiled else model.loss
    rows = batch(machine.device)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad])

    def work() -> int:
        for _ in range(updates):
            optimizer.zero_grad()
            with torch.autocast(machine.device, torch.bfloat16, enabled=machine.bf16):
                found, _ = loss(rows)
            found.backward()
            optimizer.step()
        found.item()  # waits for the device
        return updates

    return work


def batch(device: str) -> dict[str, Any]:
    """Rows (T, B, ...) of noise: observations of three numbers and actions of one."""
    no = torch.zeros(LENGTH, WORLDS, dtype=torch.bool, device=device)
    seen, reward = torch.randn(LENGTH, WORLDS, 3, device=device), torch.randn(LENGTH, WORLDS, device=device)
    action = torch.rand(LENGTH, WORLDS, 1, device=device)
    return {"obs": {"state": seen}, "action": action, "reward": reward, "first": no, "terminal": no}
