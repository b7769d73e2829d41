"""Times the `mpc` package on the problems of a file. It runs in the environment of that package, without embodia.

python mpc_peer.py PROBLEMS.npz ANSWERS.npz REPETITIONS
"""

import sys
import time
from typing import Any

import numpy as np
import torch
from mpc.mpc import MPC, LinDx, QuadCost  # type: ignore[import-not-found, unused-ignore]


def main(problems: str, answers: str, repetitions: str) -> None:
    torch.set_num_threads(1)
    given = {name: torch.from_numpy(value) for name, value in np.load(problems).items()}
    found: dict[str, Any] = {}
    for name, bound, iterations in (("free", None, 2), ("bounded", float(given["bound"]), 20)):
        runs = [solve(given, bound, iterations) for _ in range(int(repetitions))]
        forward, both, x, u, gradient = zip(*runs)
        found |= {f"{name}_forward": forward, f"{name}_both": both}
        found |= {f"{name}_x": x[0], f"{name}_u": u[0], f"{name}_gradient": gradient[0]}
    np.savez(answers, **{name: np.asarray(value) for name, value in found.items()})  # type: ignore[arg-type]


def solve(given: dict[str, Any], bound: float | None, iterations: int) -> tuple[Any, ...]:
    """CPU seconds of the forward pass and of both passes, then x, u and the gradient by c.

    The package needs a second iteration to notice that the first one solved a problem without bounds; otherwise it
    gives no gradient.
    """
    cost, slope, dynamics, offset = (given[k].clone().requires_grad_() for k in ("cost", "slope", "dynamics", "offset"))
    limits = {} if bound is None else {"u_lower": -bound, "u_upper": bound}
    steps, _, states, size = dynamics.shape
    planner = MPC(
        states, size - states, steps, lqr_iter=iterations, verbose=-1, exit_unconverged=False, eps=1e-7, **limits
    )
    started = time.process_time()
    x, u, _ = planner(given["x0"], QuadCost(cost, slope), LinDx(dynamics[:-1], offset[:-1]))
    solved = time.process_time()
    (x.square().sum() + u.square().sum()).backward()
    ended = time.process_time()
    return solved - started, ended - started, x.detach().numpy(), u.detach().numpy(), slope.grad.numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
