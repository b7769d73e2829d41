"""A straight two-lane road with the expert alone, behind a slower car, and beside a parked one."""

import numpy as np
import pytest
import torch

from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.planners.driving.learned.road_view import OBSERVATION
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road


@pytest.fixture(scope="session")
def scenarios():
    lead = [car("lead", 40.0 + 0.5 * k, velocity=(5.0, 0.0)) for k in range(81)]
    parked = [join(car("lead", 45.0 + 0.5 * k, velocity=(5.0, 0.0)), car("parked", 60.0, 1.75)) for k in range(81)]
    expert = ego_history(10.0, speed=5.0, num=81)
    road_map = synthetic_road()
    return [scenario_on(road_map, expert, frames, token=str(i) * 16) for i, frames in enumerate((None, lead, parked))]


@pytest.fixture(scope="session")
def drives(scenarios):
    """Rows (B, ...) of the logged drivers' drives."""
    env = DrivingVectorEnv(3, scenarios, action="trajectory", observation=OBSERVATION, rules="learning")
    obs, _ = env.reset(seed=[0, 1, 2])
    rows = []
    for _ in range(20):
        action = env.expert_action()
        rows.append((obs, action))
        obs = env.step(action)[0]
    seen = {key: torch.from_numpy(np.concatenate([row[key] for row, _ in rows])) for key in obs}
    return {"obs": seen, "extras": {"expert_action": torch.from_numpy(np.concatenate([each for _, each in rows]))}}
