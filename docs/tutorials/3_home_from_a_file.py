# %% [markdown]
# # A home from a file
#
# Any `.glb`, `.gltf`, `.obj` or `.ply` is a home: a scan, or something that you modelled. Here a generated home is
# exported first, so that there is a file.

# %%
from pathlib import Path
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


EPISODES = 5

embodia("export home-7 --out scenes")
scene = str(next(Path("scenes").rglob("*.glb")))
print(scene)

# %% [markdown]
# How the file is read: axes, floor area, islands of the navigation mesh, where episodes start, and pictures from
# above and from the side.

# %%
embodia(f"doctor --scene {scene}")

# %% [markdown]
# Habitat's PointNav in it: the expert walks shortest paths, and is filmed.

# %%
embodia(f"eval expert --env embodia/PointNav-v0 --scenes {scene} --episodes {EPISODES} --films 1")

# %% [markdown]
# Train in some scenes and test in others with `--env.options.scenes` and `--env.options.test-scenes`; reports say
# how many test levels occurred in training.
