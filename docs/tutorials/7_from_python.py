# %% [markdown]
# # A run in Python
#
# `make`, `load`, `evaluate` and `record` are the public interface.

# %%
from shlex import split

import embodia
from embodia.scripts.main import main

STEPS = 4_000

# %% [markdown]
# A run to load: an agent that learns from an expert to fetch a key and open a door.

# %%
main(split(f"train dagger-doorkey --steps {STEPS} --evaluation.episodes 20 --out runs/doorkey"))

# %% [markdown]
# The agent answers SB3's `predict`, for one observation or for a batch; memory is handed in and taken back.

# %%
agent = embodia.load("runs/doorkey")
env = embodia.make("embodia/MiniGrid-DoorKey-8x8-v0", observation="symbolic_full")
obs, info = env.reset(seed=5)
memory, done, steps = None, False, 0
while not done:
    action, memory = agent.predict(obs, memory)
    obs, reward, terminated, truncated, info = env.step(action)
    done, steps = terminated or truncated, steps + 1
print(steps, "steps, success:", info["metrics"]["success"])

# %% [markdown]
# Scores with intervals on levels that training never saw, and films.

# %%
print(embodia.evaluate(agent, episodes=20))
print(embodia.record(agent, seeds=(0,), out="films"))
