"""Differentiable LQR beside the `mpc` package on the same problems."""

import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embodia.planners.control.differentiable_lqr import differentiable_lqr
from embodia.planners.control.riccati import Problem
from embodia.scripts.bench.harness.options import Mpc
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import timing
from embodia.scripts.mistake import Mistake

STEPS, PROBLEMS, STATES, CONTROLS = 40, 64, 6, 2
BOUND = 0.5
PEER = "mpc 0.0.6"
REQUIREMENTS = ("mpc==0.0.6", "numpy<2")
Arrays = dict[str, NDArray[np.float64]]


def measure(options: Mpc) -> list[Row]:
    """CPU time of the peer over ours, for the forward pass, both passes, and both within bounds.

    Raises:
        Mistake: If `--peer` is not set, or the peer cannot be installed.
    """
    if not options.peer:
        raise Mistake(f"this bench compares with {PEER}; add --peer to install it in an environment below --out")
    torch.set_num_threads(1)
    out = options.folder()
    repetitions = 1 if options.smoke else options.seeds
    problems, answers = out / "problems.npz", out / "answers.npz"
    given = random_problems()
    np.savez(problems, **given)  # type: ignore[arg-type]
    python = environment(out.resolve() / "mpc-environment")
    ours = {name: [solve(given, bound) for _ in range(repetitions + 1)][1:] for name, bound in bounds().items()}
    script = Path(__file__).with_name("mpc_peer.py")
    print(f"{PEER}: {repetitions} repetitions", file=sys.stderr)
    done = subprocess.run([python, "-P", script, problems, answers, str(repetitions)], capture_output=True, text=True)
    if done.returncode:
        raise Mistake(f"{PEER} failed in {python}: {done.stderr.strip()[-300:]}; remove that environment and try again")
    theirs = dict(np.load(answers))
    found = []
    for name, kind, index in (("lqr forward", "free", 0), ("lqr backward", "free", 1), ("bounded", "bounded", 0)):
        mine = [run[:2][index] for run in ours[kind]]
        peer = theirs[f"{kind}_{('forward', 'both')[index]}"]
        beside = [
            timing("ours", [1e3 * each for each in mine], "CPU ms"),
            timing(PEER, [1e3 * each for each in peer], "CPU ms"),
            timing("ours", [difference(ours[kind][0][2], theirs, kind)], f"largest difference from {PEER}"),
        ]
        found.append(
            timing(name, [b / a for a, b in zip(mine, peer, strict=True)], f"times faster than {PEER}", beside)
        )
    return found


def bounds() -> dict[str, float | None]:
    return {"free": None, "bounded": BOUND}


def difference(mine: Arrays, theirs: Arrays, kind: str) -> float:
    """Largest difference of states, controls and the gradient by the slopes, relative to the largest entry of each."""
    return max(
        float(np.abs(mine[key] - theirs[f"{kind}_{key}"]).max() / np.abs(mine[key]).max())
        for key in ("x", "u", "gradient")
    )


def random_problems(seed: int = 0) -> Arrays:
    """Affine problems with a different system each, whose spectral radius is 1. The last stage has no next state."""
    rng, size = np.random.default_rng(seed), STATES + CONTROLS
    a = rng.normal(size=(PROBLEMS, STATES, STATES))
    a /= np.abs(np.linalg.eigvals(a)).max(-1)[:, None, None]
    system = np.concatenate([a, rng.normal(size=(PROBLEMS, STATES, CONTROLS))], -1)
    root = rng.normal(size=(STEPS, PROBLEMS, size, size)) / size**0.5
    shape = (STEPS, PROBLEMS)
    return {
        "cost": root @ root.swapaxes(-1, -2) + np.eye(size),
        "slope": rng.normal(size=(*shape, size)),
        "dynamics": np.tile(system, (STEPS, 1, 1, 1)),
        "offset": 0.1 * rng.normal(size=(*shape, STATES)),
        "x0": rng.normal(size=(PROBLEMS, STATES)),
        "bound": np.array(BOUND),
    }


def solve(given: Arrays, bound: float | None) -> tuple[float, float, Arrays]:
    """CPU seconds of the forward pass and of both passes, and the solution with its gradient by the slopes."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in given.items()}
    tensors["dynamics"][-1], tensors["offset"][-1] = 0, 0
    leaves = [tensors[name].requires_grad_() for name in ("cost", "slope", "dynamics", "offset")]
    x0, final = tensors["x0"], torch.zeros(PROBLEMS, STATES, STATES, dtype=torch.float64)
    started = time.process_time()
    cost, slope, dynamics, offset = leaves
    problem = Problem(cost, slope, dynamics, offset, final, final[..., 0])
    x, u = differentiable_lqr(problem, x0, None if bound is None else -bound, bound)
    solved = time.process_time()
    gradients = torch.autograd.grad(x[:-1].square().sum() + u.square().sum(), leaves)
    ended = time.process_time()
    answer = {"x": x[:-1].detach().numpy(), "u": u.detach().numpy(), "gradient": gradients[1].numpy()}
    return solved - started, ended - started, answer


def environment(folder: Path) -> Path:
    """Return the Python of a virtual environment with the peer, and make it if it does not exist.

    The peer needs an old numpy, so it cannot live here; torch is the one of this installation.

    Raises:
        Mistake: If the peer cannot be installed.
    """
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    print(f"installing {PEER} in {folder}", file=sys.stderr)
    venv.create(folder, with_pip=False, clear=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    here = sysconfig.get_path("purelib")
    (folder / "lib" / version / "site-packages" / "torch.pth").write_text(here + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--ignore-installed"]
    done = subprocess.run([*install, *REQUIREMENTS], capture_output=True, text=True)
    if done.returncode:
        raise Mistake(
            f"{PEER} cannot be installed: {done.stderr.strip()[-300:]}; check the connection to the package index"
        )
    (folder / "ready").touch()
    return python
