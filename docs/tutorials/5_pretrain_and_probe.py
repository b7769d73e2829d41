# %% [markdown]
# # Pretrain an encoder, probe it, act with it
#
# An image encoder learns from an agent's own walks through homes, without labels. Then it is probed, and becomes the
# eyes of an agent.

# %%
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


EPISODES, UPDATES, STEPS = 60, 1_000, 20_000

# %% [markdown]
# The pictures: what the expert of ObjectNav sees on its way, in the world of the preset `bc-objectnav`.

# %%
embodia(f"collect expert --env bc-objectnav --episodes {EPISODES} --out walks")

# %% [markdown]
# VICReg makes two augmented views of each picture agree, and keeps the features from collapsing.

# %%
embodia(f"pretrain vicreg --data walks --steps {UPDATES} --out runs/vicreg")

# %% [markdown]
# What do the features hold? Linear probes in homes that were never seen, beside a random encoder and pixels.

# %%
embodia("probe runs/vicreg --homes 4 --walks 2")

# %% [markdown]
# An agent that sees through the frozen encoder and imitates the expert. `--encoder.frozen False` fine-tunes it.

# %%
embodia(
    "train bc-objectnav --encoder.pretrained runs/vicreg --encoder.frozen True "
    f"--steps {STEPS} --evaluation.episodes 50 --out runs/eyes"
)
