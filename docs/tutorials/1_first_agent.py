# %% [markdown]
# # Your first agent
#
# An agent learns from reward to cross a small grid, is judged beside a random agent and the expert, and is filmed.
# Each step is one command in a shell; here the commands are called from Python.

# %%
import json
from pathlib import Path
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


STEPS = 60_000
EPISODES = 100

# %% [markdown]
# A preset is trained and evaluated, and leaves a run folder. Every field of the preset is a flag.

# %%
embodia(f"train ppo-empty --steps {STEPS} --evaluation.episodes {EPISODES} --out runs/first")

# %% [markdown]
# The report card is `runs/first/report.html`; its numbers are in `report.json`, with 95 % intervals.

# %%
report = json.loads(Path("runs/first/report.json").read_text())
for policy, scores in report["scores"].items():
    success = scores["success"]
    print(f"{policy:8} {success['value']:.2f} [{success['low']:.2f}, {success['high']:.2f}]")

# %% [markdown]
# Two films of levels that you name by their seeds: what the agent sees, the map, its actions and scores.

# %%
embodia("record runs/first --seeds 1000 1001")
