"""Steps per second of XLand-MiniGrid on one core; `embodia bench grids --xland` runs this where jax is installed.

Usage: python xland.py TASK WORLDS REPETITIONS. The last line is a JSON list of [steps/s, steps per CPU second].
"""

import json
import os
import sys
import time
from importlib import import_module

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

STEPS = 200


def main(task: str, worlds: int, repetitions: int) -> None:
    import numpy as np

    jax, xminigrid, wrappers = map(import_module, ("jax", "xminigrid", "xminigrid.wrappers"))
    env, params = xminigrid.make(task)
    env = wrappers.GymAutoResetWrapper(env)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(None, 0)))
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
    timestep = reset(params, jax.random.split(jax.random.key(0), worlds))
    choices = np.random.default_rng(0).integers(env.num_actions(params), size=(STEPS, worlds), dtype=np.int32)
    found = []
    for repetition in range(repetitions + 1):  # the first one compiles
        wall, cpu = time.perf_counter(), time.process_time()
        for actions in choices:
            timestep = step(params, timestep, actions)
            jax.block_until_ready(timestep.observation)
        if repetition:
            count = STEPS * worlds
            found.append((count / (time.perf_counter() - wall), count / (time.process_time() - cpu)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
