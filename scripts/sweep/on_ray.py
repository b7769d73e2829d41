"""Jobs as tasks of a Ray cluster, or of Ray on this machine."""

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embodia.scripts.mistake import Mistake
from embodia.scripts.sweep import Ended, Job
from embodia.scripts.sweep.local import RETRIES


@dataclass(frozen=True)
class Ray:
    """Runs each job as a task that takes `cpus` CPUs.

    On a machine that sees the sweep's folder (a shared disk, or this machine) a run that is done again goes on from
    its last checkpoint. Elsewhere it is trained in a temporary folder, from the start, and sent back when it ends.
    """

    address: str | None = None
    """Address of a cluster, such as ray://head:10001; None starts Ray here."""
    cpus: float = 1.0

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run the jobs. Raises Mistake if Ray is not installed or the cluster does not answer."""
        ray = connected(self.address)
        # Ray runs a task again when its machine is lost; a killed training process ends the task with an error.
        task = ray.remote(num_cpus=self.cpus, max_retries=RETRIES, retry_exceptions=[Killed])(carried_out)
        try:
            waiting = {task.remote(job): job for job in jobs}
            while waiting:
                (done, *_), _ = ray.wait(list(waiting), num_returns=1)
                job = waiting.pop(done)
                try:
                    code, archive = ray.get(done)
                except ray.exceptions.RayError as error:
                    job.log.parent.mkdir(parents=True, exist_ok=True)
                    job.log.write_text(f"{error}\n")
                    yield Ended(job, -1)
                    continue
                unpack(archive, job)
                yield Ended(job, code)
        finally:
            ray.shutdown()


class Killed(RuntimeError):
    """A signal killed the training process."""


def connected(address: str | None) -> Any:
    """Import Ray and connect to the cluster. Raises Mistake."""
    try:
        import ray
    except ImportError as error:
        raise Mistake("--engine ray needs Ray: pip install 'embodia[ray]'; --engine local does without") from error
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise Mistake(f"--address {address}: the Ray cluster does not answer ({first_line(error)})") from error
    return ray


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def carried_out(job: Job) -> tuple[int, bytes | None]:
    """Train one run; return the exit code, and the folder as an archive if it is not on a shared disk.

    Raises:
        Killed: if a signal killed the process, so that Ray runs the task again.
    """
    if job.folder.parent.is_dir():
        return trained(job), None
    with tempfile.TemporaryDirectory() as temporary:
        here = replace(job, folder=Path(temporary) / job.folder.name)
        code = trained(here)
        with io.BytesIO() as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                archive.add(temporary, ".")
            return code, file.getvalue()


def trained(job: Job) -> int:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        command = [sys.executable, "-m", "embodia", *job.arguments()]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).returncode
    if code < 0:
        raise Killed(f"{job.folder.name}: killed by signal {-code}")
    return code


def unpack(archive: bytes | None, job: Job) -> None:
    """Put a run that was sent back into the sweep's folder."""
    if archive is not None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            file.extractall(job.folder.parent, filter="data")
