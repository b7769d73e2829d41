"""Jobs in processes of this machine."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from embodia.scripts.sweep import Ended, Job

PR_SET_PDEATHSIG = 1  # linux/prctl.h
RETRIES = 3
PATIENCE = 30.0
"""Time for a process to write its checkpoint after an interrupt [s]."""


@dataclass
class Local:
    """Runs up to `jobs` training processes at once."""

    jobs: int
    running: dict[Job, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        waiting = [(job, RETRIES) for job in jobs][::-1]
        left: dict[Job, int] = {}
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.jobs:
                    job, left_over = waiting.pop()
                    self.running[job], left[job] = started(job), left_over
                for job, code in self.ended():
                    if code < 0 and left[job]:  # killed by a signal: out of memory, or a machine that is taken away
                        waiting.append((job, left[job] - 1))
                    else:
                        yield Ended(job, code)
                time.sleep(0.1)
        finally:
            self.stop()

    def ended(self) -> list[tuple[Job, int]]:
        """Take the processes that have ended off the list; return their jobs and exit codes."""
        found = [(job, code) for job, process in self.running.items() if (code := process.poll()) is not None]
        for job, _ in found:
            del self.running[job]
        return found

    def stop(self) -> None:
        """Interrupt what still runs, so that each process writes a checkpoint; kill it if it does not end."""
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE
        for process in self.running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def end_with_parent() -> None:
    """Let the kernel interrupt this process when its parent dies, so that a killed sweep leaves nothing running."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def started(job: Job) -> "subprocess.Popen[bytes]":
    """Start a job; its output is appended to its log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        return subprocess.Popen(  # a session of its own: Ctrl-C reaches it through `stop` only
            [sys.executable, "-m", "embodia", *job.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
