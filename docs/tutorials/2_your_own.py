# %% [markdown]
# # Your own environment, encoder and agent
#
# Each is one file beside your work, named on the command line. Here the files are written by the script;
# [Extending](../extending.md) explains what they hold.

# %%
from pathlib import Path
from shlex import split

from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


STEPS = 6_000

# %% [markdown]
# ## An environment
#
# A Gymnasium environment with a `Dict` of observations and its scores in `info["metrics"]`.

# %%
Path("lights.py").write_text('''
import gymnasium as gym, numpy as np
from gymnasium import spaces


class Lights(gym.Env):
    """Switch on the lamp that is dark; one of three is."""

    metadata = {"scores": {"success": "higher"}}
    observation_space = spaces.Dict(lamps=spaces.Box(0, 1, (3,), np.float32))
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.dark = int(self.np_random.integers(3))
        return self._seen(), {}

    def step(self, action):
        right = float(action == self.dark)
        return self._seen(), right, True, False, {"metrics": {"success": right}}

    def _seen(self):
        lamps = np.ones(3, np.float32)
        lamps[self.dark] = 0
        return {"lamps": lamps}


gym.register("Lights-v0", Lights)
''')
embodia(f"train ppo-empty --env.id lights:Lights-v0 --encoder.keys lamps --steps {STEPS} --out runs/lights")

# %% [markdown]
# ## An agent
#
# It acts, keeps rows in a buffer, and learns from what the buffer gives. This one remembers what paid for each
# picture.

# %%
Path("table.py").write_text('''
import numpy as np
from safetensors.numpy import load_file, save_file
from embodia.agents import Agent
from embodia.agents.training.buffers.replay import ReplayBuffer


class Table(Agent):
    """The mean reward of each action for each lamp that is dark."""

    def __init__(self, observation_space, action_space, seed=0):
        self.observation_space, self.action_space = observation_space, action_space
        self.worth, self.rng = np.zeros((3, 3)), np.random.default_rng(seed)

    def act(self, obs, carry, first, mode):
        best = self.worth[obs["lamps"].argmin(1)].argmax(1)
        drawn = self.rng.integers(3, size=len(best))
        return np.where((self.rng.random(len(best)) < 0.3) & (mode == "train"), drawn, best), carry, {}

    def buffer(self):
        return ReplayBuffer(1_000, batch_size=32, learning_starts=64)

    def update(self, batch):
        for lamps, action, reward in zip(batch["obs"]["lamps"], batch["action"], batch["reward"]):
            self.worth[lamps.argmin(), action] += 0.1 * (reward - self.worth[lamps.argmin(), action])
        return {"worth": float(self.worth.max())}

    def save(self, folder):
        save_file({"worth": self.worth}, folder / "agent.safetensors")

    def load(self, folder):
        self.worth = load_file(folder / "agent.safetensors")["worth"]
''')
embodia("train ppo-empty --env.id lights:Lights-v0 --agent table:Table --steps 1000 --out runs/table")

# %% [markdown]
# A run never imports code by itself, so `eval` wants the flag again.

# %%
embodia("eval runs/table --agent table:Table --env lights:Lights-v0 --episodes 20")
