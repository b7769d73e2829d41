"""Blocks of evaluated episodes in unseen homes, and maps of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from embodia.agents import Agent
from embodia.agents.modular.body import LEFT
from embodia.agents.modular.frontier import Frontier
from embodia.agents.modular.map_agent import MapAgent
from embodia.agents.references.constant import Constant
from embodia.agents.references.random import Random
from embodia.agents.training.evaluate import Episode, evaluate
from embodia.envs.drawing.rotations import yaw_of
from embodia.perception.mapping.depth_mapper import intersection_over_union, navigable
from embodia.perception.mapping.planar_poses import motion_between
from embodia.scripts.assembly import build
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.presets.table import preset

Array = NDArray[Any]

WORLDS = 8
POSE_NOISE = (0.02, 0.02, float(np.radians(1)))  # standard deviation of (x, z, yaw) [m, m, rad], new in every step


def environment(name: str, max_steps: int | None = None) -> EnvConfig:
    """The environment of the preset of an agent, with a time limit."""
    env = preset(name).env
    return replace(env, options=replace(env.options, max_steps=max_steps))


def agent_of(name: str, policy: str, env: Any) -> Agent:
    """Build a policy for the environment of the agent `name`: the agent itself, the agent with noisy poses, random, the
    expert, or one that turns on the spot."""
    observed, actions = env.single_observation_space, env.single_action_space
    if policy == "turning":
        return Constant(observed, actions, LEFT)
    if policy == "random":
        return Random(observed, actions)
    if policy == "expert":
        return build.reference("expert", env)
    made = build.agent(preset(name), env)
    assert isinstance(made, MapAgent)
    return with_pose_noise(made) if policy == "noisy" else made


def with_pose_noise(agent: MapAgent) -> MapAgent:
    """Let an agent read its pose with independent errors in every step."""
    exact, rng = agent.poses, np.random.default_rng(0)
    agent.poses = lambda *args: exact(*args) + rng.normal(0, POSE_NOISE, (len(args[2]), 3))  # type: ignore[method-assign]
    return agent


def block(name: str, policy: str, seeds: Sequence[int], max_steps: int | None = None) -> list[Episode]:
    """Evaluate a policy in the environment of the agent `name`, on one episode per seed of the test split."""
    env = build.worlds(environment(name, max_steps), "test", min(WORLDS, len(seeds)), evaluation=True)
    try:
        return evaluate(agent_of(name, policy, env), env, seeds)
    finally:
        env.close()


def floor_ious(seeds: Sequence[int], steps: int) -> list[float]:
    """Explore one home per seed with the true pose; return the intersection over union of the mapped floor and the true
    one."""
    env = build.worlds(environment("frontier", steps + 1), "test", len(seeds), evaluation=True)
    agent = build.agent(preset("frontier"), env)
    assert isinstance(agent, Frontier)
    obs, _ = env.reset(seed=list(seeds))
    carry, first = agent.initial(len(seeds)), np.ones(len(seeds), bool)
    for _ in range(steps):
        action, carry, _ = agent.act(obs, carry, first, "eval")
        first[:] = False
        obs = env.step(np.where(action == 0, LEFT, action))[0]  # one that has finished looks around
    found = [floor_iou(env, agent, carry["map"][i], i) for i in range(len(seeds))]
    env.close()
    return found


def floor_iou(env: Any, agent: Frontier, map: Array, i: int) -> float:
    """The intersection over union of the mapped floor of world i and the true one, in cells of the map's size."""
    area, layout, cell = env.explorations.areas[i], agent.mapper.layout, agent.mapper.layout.cell
    low, high = env.homes[i].pathfinder.bounds.astype(np.float64)
    rows, columns = (int((high[k] - low[k]) / cell) for k in (2, 0))
    far = low + np.array([columns * cell, 0, rows * cell])
    height = float(env.poses.start_position[i, 1])
    true = env.homes[i].pathfinder.free_cells(np.array([low, far]), (rows, columns), height)
    row, column = np.indices(true.shape)
    x, z = low[0] + column * cell, low[2] + row * cell
    true &= reachable(area, x, z)
    start = np.array([*env.poses.start_position[i, [0, 2]], yaw_of(env.poses.start_rotation[i])])
    places = np.stack([x, z, 0 * x], -1)
    cells = layout.cells_of(motion_between(np.broadcast_to(start, places.shape), places)[..., :2])
    return intersection_over_union(navigable(map, agent.body.radius, cell)[cells[..., 0], cells[..., 1]], true)


def reachable(area: Any, x: Array, z: Array) -> Array:
    """Whether places lie in the part of the floor that can be reached from the start, grown by a cell of its map."""
    cells = np.array([area.grid.to_grid(a, b) for a, b in zip(x.ravel(), z.ravel())])
    cells = np.clip(cells, 0, np.array(area.free.shape) - 1)
    grown = binary_dilation(area.free > 0, np.ones((3, 3)))
    return np.asarray(grown[cells[:, 0], cells[:, 1]].reshape(x.shape))
