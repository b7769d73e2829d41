"""Metrics of a training run: `metrics.jsonl`, TensorBoard, and a progress bar or plain lines on the console."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from embodia.agents.training import distributed

COLLAPSE = ("effective_rank", "embedding_std")
"""Metrics that show a collapse of self-supervised embeddings."""


class Sink(Protocol):
    """Something else that numbers are written to, such as an experiment tracker."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Logger:
    """Logs the means of the numbers added between two writes, one JSON object per line.

    If several processes train together, the means are over all of them and the leading one writes.

    Args:
        folder: run folder for `metrics.jsonl` and TensorBoard events. None writes no files.
        tensorboard: whether to write TensorBoard events too.
        console: whether to show progress: a bar on a terminal, otherwise a line every `console_seconds`.
        console_seconds: time between plain lines [s].
        sinks: what else the numbers are written to; closed with the logger.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        tensorboard: bool = True,
        console: bool = True,
        console_seconds: float = 10.0,
        sinks: Sequence[Sink] = (),
    ):
        self._sinks = tuple(sinks)
        self.folder = Path(folder) if folder is not None and distributed.leads() else None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / "metrics.jsonl", "ab") if self.folder is not None else None  # noqa: SIM115
        self._tensorboard = tensorboard and self.folder is not None
        self._events: Any = None
        self._console = Console(console_seconds) if console and distributed.leads() else None
        self._sums: dict[str, list[float]] = {}  # name -> [sum, count]
        self._pending: dict[Any, list[tuple[str, Any]]] = {}  # device -> tensors that have not been read yet
        self._seconds, self._cpu_seconds = 0.0, 0.0  # of earlier processes
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._last = (0, 0.0)  # step and time of the last write
        self._resumed: int | None = None  # step from which events of earlier processes are void

    @property
    def seconds(self) -> float:
        """Wall time of the run so far [s], including earlier processes."""
        return self._seconds + time.perf_counter() - self._began

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the run so far [s], including earlier processes, without child processes."""
        return self._cpu_seconds + time.process_time() - self._cpu_began

    def start(self, step: int, total: int) -> None:
        """Start the console at `step` of `total`."""
        self._last = (step, self.seconds)
        if self._console:
            self._console.start(step, total)

    def restart(self) -> None:
        """Remove what a process wrote that was killed before its first checkpoint."""
        if self._file is not None and self._file.seek(0, 2) > 0:
            self._file.truncate(0)
            self._resumed = 0

    def add(self, numbers: Mapping[str, Any]) -> None:
        """Add numbers to the means of the next `write`. Scalar tensors stay on their device until then."""
        for name, value in numbers.items():
            if hasattr(value, "detach"):
                self._pending.setdefault(value.device, []).append((name, value.detach().float().clone()))
            else:
                self._count(name, float(value))

    def _count(self, name: str, value: float) -> None:
        entry = self._sums.setdefault(name, [0.0, 0])
        entry[0] += value
        entry[1] += 1

    def _read(self) -> None:
        """Read the pending tensors, all of a device at once, and add up the sums of all processes."""
        if self._pending:
            import torch

            for tensors in self._pending.values():
                names, values = zip(*tensors, strict=True)
                for name, value in zip(names, torch.stack(values).tolist(), strict=True):
                    self._count(name, value)
            self._pending.clear()
        self._sums = distributed.pooled(self._sums)

    def write(self, step: int) -> dict[str, float]:
        """Write and return the means since the last write, and the speed."""
        self._read()
        numbers = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        last_step, last_time = self._last
        now = self.seconds
        numbers["time/steps_per_second"] = (step - last_step) / max(now - last_time, 1e-9)
        self._last = (step, now)
        self.record(step, numbers)
        return numbers

    def record(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write these numbers now, as a separate line."""
        if self._file is not None:
            plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            times = {"time/seconds": round(self.seconds, 3), "time/cpu_seconds": round(self.cpu_seconds, 3)}
            line = {"step": step, **times, **plain}
            self._file.write((json.dumps(line) + "\n").encode())
            self._file.flush()
        if self._tensorboard:
            self._write_events(step, numbers)
        for sink in self._sinks:
            sink.write(step, numbers)
        if self._console:
            self._console.show(step, numbers)

    def tick(self, step: int) -> None:
        """Update the progress bar; cheap enough to call at every row."""
        if self._console:
            self._console.tick(step)

    def say(self, text: str) -> None:
        """Print a line on the console."""
        if self._console:
            self._console.say(text)

    def _write_events(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter  # here: importing it takes a second

            self._events = SummaryWriter(str(self.folder), purge_step=self._resumed)
        for name, value in numbers.items():
            self._events.add_scalar(name, value, step)

    def state_dict(self) -> dict[str, Any]:
        """Return the end of the file and the numbers that are not written yet."""
        self._read()
        end = self._file.tell() if self._file is not None else 0
        sums = {name: tuple(entry) for name, entry in self._sums.items()}
        times = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        return {"bytes": end, "sums": sums, **times, "step": self._last[0]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there: lines written after the checkpoint are removed from the file."""
        if self._file is not None:
            self._file.truncate(min(state["bytes"], self._file.seek(0, 2)))
            self._file.seek(0, 2)
        sums = state["sums"] if distributed.leads() else {}  # those of all processes
        self._sums = {name: list(entry) for name, entry in sums.items()}
        self._pending.clear()
        self._seconds, self._began = state["seconds"], time.perf_counter()
        self._cpu_seconds, self._cpu_began = state.get("cpu_seconds", 0.0), time.process_time()
        self._resumed = state["step"]

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()
        for sink in self._sinks:
            sink.close()
        if self._console:
            self._console.close()


class Console:
    """Progress on the console: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, seconds: float):
        self.seconds, self.total = seconds, 0
        self._first, self._began = 0, time.perf_counter()
        self._said = time.perf_counter()
        self._shown: dict[str, float] = {}
        self._bar: Any = None

    def start(self, step: int, total: int) -> None:
        self.total, self._first, self._began = total, step, time.perf_counter()
        if not sys.stderr.isatty():
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=RichConsole(stderr=True))
        self._task = self._bar.add_task("", total=total, completed=step)
        self._bar.start()

    def tick(self, step: int) -> None:
        now = time.perf_counter()
        if now - self._said < (0.2 if self._bar else self.seconds):
            return
        self._said = now
        if self._bar:
            self._bar.update(self._task, completed=step, description=self._text())
        else:
            print(f"step {step:,} of {self.total:,}{self._left(step)}  {self._text()}", file=sys.stderr, flush=True)

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        self._shown.update(numbers)
        self.tick(step)

    def say(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def _left(self, step: int) -> str:
        """The remaining time, from the steps so far."""
        if not self._first < step < self.total:
            return ""
        seconds = (time.perf_counter() - self._began) / (step - self._first) * (self.total - step)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    def _text(self) -> str:
        """The most important metrics in one line."""
        parts = []
        if "time/steps_per_second" in self._shown:
            parts.append(f"{self._shown['time/steps_per_second']:,.0f} steps/s")
        for name in ("episode/return", "episode/success", "eval/success", "eval/return", *COLLAPSE):
            if name in self._shown:
                parts.append(f"{name} {self._shown[name]:.3f}")
        return "  ".join(parts)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
