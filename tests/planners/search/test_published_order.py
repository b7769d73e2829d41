"""The order of nuPlan's published scores on generated scenarios: PDM-Closed, then IDM, then constant velocity.

Val14 has PDM-Closed at 93 / 92 (non-reactive / reactive), IDM at 76 / 77, log replay at 94 / 80 (Dauner et al. 2023).
"""

import numpy as np
import pytest

from embodia.envs.driving.generator.generate import SCENARIO_TYPES, generate_scenario
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE, REACTIVE
from embodia.envs.driving.simulation.planner_runs import simulate
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.pdm_closed import PdmClosed


@pytest.fixture(scope="module")
def scenarios():
    return [generate_scenario(seed, kind, split="test") for kind in SCENARIO_TYPES for seed in range(2)]


def mean_score(scenarios, planner, config):
    return np.mean([score_history(simulate(scenario, planner(scenario), config)).score for scenario in scenarios])


@pytest.mark.slow
def test_pdm_closed_is_above_idm_above_constant_velocity(scenarios):
    pdm, idm, constant = (
        mean_score(scenarios, planner, NONREACTIVE)
        for planner in (lambda _: PdmClosed(), lambda _: IdmPlanner(), lambda _: ConstantVelocity())
    )
    assert pdm > idm > constant


@pytest.mark.slow
def test_log_replay_loses_when_traffic_reacts(scenarios):
    replayed, reactive = (mean_score(scenarios, lambda s: LogFuture(s.expert), c) for c in (NONREACTIVE, REACTIVE))
    assert reactive < replayed
