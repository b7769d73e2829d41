# %% [markdown]
# # Imagine and plan
#
# A world model learns what actions do. Dreamer learns to act in its imagination; the cross-entropy method plans in
# it.

# %%
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


STEPS = 8_000

# %%
embodia(f"train dreamer-empty --steps {STEPS} --evaluation.episodes 50 --out runs/dreamer")


# %% [markdown]
# What the model predicts when only the actions are given, beside what happened, and how the error grows:
# `runs/dreamer/imagination.png`.

# %%
embodia("imagine runs/dreamer --episodes 8")


# %% [markdown]
# `embodia train mpc-rssm-empty` plans in the same kind of model instead of learning an actor. The planner is a part
# like any other (`--agent.planner icem`, `--agent.planner mppi`).
