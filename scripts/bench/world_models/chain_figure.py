"""A figure of planned episodes: goal, first view, imagined and true end of the first plan, end of the episode.

Nothing decodes tokens into images. An imagined view is shown as the frame of the agent's own video with the nearest
tokens, so it comes from another home: only its shapes and distances are meaningful.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.agents.reinforcement.mpc import MPC
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.scripts.bench.world_models.true_moves import TrueMoves

Array = NDArray[Any]
LOOKED_THROUGH = 4000  # frames of the video


@torch.no_grad()
def draw(agent: MPC, env: HomesVectorEnv, levels: list[int], video: Tensor, path: Path) -> None:
    """Draw one row per world of `env` and level; video (T, N, H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = played(agent, env, levels, video)
    figure = Figure(figsize=(1.8 * len(columns), 1.85 * env.num_envs + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(env.num_envs, len(columns), squeeze=False)
    for column, (title, pictures, says) in enumerate(columns):
        for world in range(env.num_envs):
            axes[world, column].imshow(pictures[world])
            axes[world, column].set(xticks=[], yticks=[])
            axes[world, column].set_xlabel(says[world], fontsize=8)
        axes[0, column].set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)


def played(agent: MPC, env: HomesVectorEnv, levels: list[int], video: Tensor) -> list[tuple[str, Array, list[str]]]:
    """Title, images (n, H, W, 3) and captions of each column."""
    n, truth = env.num_envs, TrueMoves(env)
    obs, _ = env.reset(seed=levels)
    goal, start = obs["imagegoal"], obs["rgb"]
    begun = truth.observe({}, {}, torch.zeros(0), torch.zeros(0))
    action, carry, _ = agent.act(obs, agent.initial(n), np.ones(n, bool), "eval")
    plan = carry["memory"]["plan"]
    imagined, led = carry["model"], begun
    for t in range(plan.shape[1]):
        imagined, led = agent.model.imagine(imagined, plan[:, t]), truth.imagine(led, plan[:, t])
    over, moves = np.zeros(n, bool), 0
    end, far = start.copy(), truth.distance(begun).numpy()
    while not over.all():
        obs, _, terminated, truncated, _ = env.step(action)
        moves += 1
        last = terminated | truncated
        now = truth.distance(truth.observe({}, {}, torch.zeros(0), torch.zeros(0))).numpy()
        end[~over], far[~over] = obs["rgb"][~over], now[~over]
        over |= last
        action, carry, _ = agent.act(obs, carry, np.zeros(n, bool), "eval")
    steps = plan.shape[1]
    return [
        ("goal", goal, [""] * n),
        ("first view", start, metres(truth.distance(begun))),
        (f"imagined, +{steps}\n(nearest in own video)", nearest(agent, imagined, video), [""] * n),
        (f"truth of that plan, +{steps}", truth.views(led), metres(truth.distance(led))),
        ("end of the episode", end, metres(torch.from_numpy(far))),
    ]


def nearest(agent: MPC, imagined: Any, video: Tensor) -> Array:
    """The frame of the video with the nearest tokens for each imagined state (n, H, W, 3)."""
    frames = video.flatten(0, 1)
    frames = frames[torch.linspace(0, len(frames) - 1, min(LOOKED_THROUGH, len(frames))).long()]
    model: Any = agent.model
    known = torch.cat([model.encode({"rgb": part}) for part in frames.split(256)]).flatten(1)
    wanted = model.predict(imagined)["tokens"].flatten(1)
    return frames[torch.cdist(wanted, known).argmin(1)].numpy()


def metres(distance: Tensor) -> list[str]:
    return [f"{each:.2f} m from the goal" for each in distance.tolist()]
