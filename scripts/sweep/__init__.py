"""Sweeps: one preset trained with several values of its flags and several seeds, by local processes or on Ray.

A `Job` is one training run; an engine runs jobs and says how each ended; `results` reads what they left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """One training run of a sweep."""

    preset: str
    flags: tuple[str, ...]
    """Flags of `embodia train`, without --seed and --out."""
    seed: int
    folder: Path
    """Run folder."""

    @property
    def log(self) -> Path:
        """The output of the training process."""
        return self.folder.parent / "logs" / f"{self.folder.name}.txt"

    @property
    def finished(self) -> bool:
        """Whether the run was trained and evaluated."""
        return (self.folder / "report.json").exists()

    def arguments(self) -> list[str]:
        """Arguments of `embodia` that start the run, or resume it if it was started before."""
        if (self.folder / "config.json").exists():
            return ["train", "--resume", str(self.folder)]
        return ["train", self.preset, *self.flags, "--seed", str(self.seed), "--out", str(self.folder)]


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    job: Job
    code: int
    """Exit code of `embodia train`: 0 finished, 2 a mistake of the user, negative if a signal killed the process."""


class Engine(Protocol):
    """Runs jobs, several at once."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run the jobs and yield them as they end. A job whose process was killed is run again, at most `RETRIES`
        times; it goes on from its last checkpoint."""
