# %% [markdown]
# # Learn from recorded data
#
# An agent learns from rows on disk, without stepping an environment, and is judged in one.

# %%
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


EPISODES, UPDATES = 200, 2_000

# %% [markdown]
# Episodes of the expert, also as a Minari and a LeRobotDataset v3 set.

# %%
embodia(f"collect expert --env bc-doorkey --episodes {EPISODES} --to minari lerobot --out demonstrations")

# %%
embodia(f"train bc-doorkey --data demonstrations --steps {UPDATES} --evaluation.episodes 50 --out runs/offline")

# %% [markdown]
# `--data` takes folders of `embodia collect`, Minari sets (by folder or name) and LeRobotDataset folders, also
# several of them, and sets that are larger than memory.
