"""Generated scenarios: the seed fixes them, the label holds at the tag, the expert's drive is one to learn from."""

from itertools import pairwise

import numpy as np
import pytest

from embodia.envs.driving.generator.generate import (
    FUTURE_FRAMES,
    ITERATIONS,
    SCENARIO_TYPES,
    TAG_ITERATION,
    generate_scenario,
    sound,
)
from embodia.envs.driving.metrics.closed_loop_scores import score_history
from embodia.envs.driving.scenarios.pack import load_pack, save_pack
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES
from embodia.envs.driving.simulation.closed_loop import NONREACTIVE
from embodia.envs.driving.simulation.planner_runs import simulate
from embodia.envs.driving.types import StateColumn, TrackedObjectType
from embodia.planners.driving.log_future import LogFuture


@pytest.fixture(scope="module")
def scenario():
    return generate_scenario(4, "starting_right_turn")


def test_all_fourteen_types_of_val14_are_there():
    assert len(SCENARIO_TYPES) == 14
    assert "waiting_for_pedestrian_to_cross" in SCENARIO_TYPES


def test_a_scenario_has_nuplans_window(scenario):
    assert scenario.num_iterations == ITERATIONS == 151
    assert scenario.start == HISTORY_FRAMES
    assert len(scenario.time_us) == HISTORY_FRAMES + ITERATIONS + FUTURE_FRAMES
    assert np.all(np.diff(scenario.time_us) == 100_000)


def test_the_seed_fixes_the_scenario_and_the_splits_differ(scenario):
    again = generate_scenario(4, "starting_right_turn")
    np.testing.assert_array_equal(scenario.ego, again.ego)
    np.testing.assert_array_equal(scenario.tracks.boxes, again.tracks.boxes)
    np.testing.assert_array_equal(scenario.lights.status, again.lights.status)
    other = generate_scenario(4, "starting_right_turn", split="test")
    assert not np.array_equal(scenario.ego, other.ego)


def test_the_expert_turns_right_after_the_tag(scenario):
    tag = scenario.start + TAG_ITERATION
    heading = np.unwrap(scenario.ego[:, StateColumn.HEADING])
    before, after = heading[tag - 5], heading[tag + 1 :]
    assert (after - before).min() < -0.9
    assert scenario.ego[tag, StateColumn.VX] > 0.5


def test_the_expert_is_sound_and_scores_well_when_replayed(scenario):
    assert sound(scenario)
    score = score_history(simulate(scenario, LogFuture(scenario.expert), NONREACTIVE))
    assert score.metrics["no_ego_at_fault_collisions"] == 1
    assert score.metrics["drivable_area_compliance"] == 1
    assert score.score > 0.8


def test_the_ego_states_are_those_of_a_log(scenario):
    ego = scenario.ego
    speed, heading = ego[:, StateColumn.VX], ego[:, StateColumn.HEADING]
    steps = np.diff(ego[:, :2], axis=0)
    assert np.abs(np.diff(speed)).max() < 0.6, "no jumps, also where lanes are changed"
    moving = speed[:-1] > 1.0
    course = np.arctan2(steps[:, 1], steps[:, 0])
    assert np.abs(np.angle(np.exp(1j * (course - heading[:-1]))))[moving].max() < 0.08
    for column in (StateColumn.STEERING, StateColumn.YAW_RATE, StateColumn.VY):
        assert np.all(ego[:, column] == 0)


def test_the_route_leads_from_the_ego_on_through_the_map(scenario):
    blocks = [scenario.map.block(block) for block in scenario.route]
    assert None not in blocks
    for before, after in pairwise(blocks):
        assert after in scenario.map.block_outgoing[before]
    here = scenario.map.block_layer.at(*scenario.ego[scenario.start, :2])
    assert blocks[0] in here


def test_a_scenario_survives_its_pack(scenario, tmp_path):
    save_pack(tmp_path / "one.zip", [scenario])
    back = load_pack(tmp_path / "one.zip")[0]
    np.testing.assert_array_equal(back.ego, scenario.ego)
    assert back.route == scenario.route
    assert back.type == "starting_right_turn"


def test_an_unknown_type_names_the_known_ones():
    with pytest.raises(ValueError, match="stopping_with_lead"):
        generate_scenario(0, "flying")


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCENARIO_TYPES)
def test_every_type_can_be_drawn(kind):
    seen = [generate_scenario(seed, kind) for seed in range(3)]
    assert all(s.type == kind and sound(s) for s in seen)
    assert len({s.ego[s.start].tobytes() for s in seen}) == 3
    if kind == "waiting_for_pedestrian_to_cross":
        assert all(s.count(TrackedObjectType.PEDESTRIAN) for s in seen)
