"""nuPlan's open-loop scores: planned trajectories against the log's future at 1 Hz over 3, 5 and 8 s."""

import numpy as np

from embodia.envs.driving.metrics.closed_loop_scores import ScenarioScore, weighted_score
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import History
from embodia.envs.driving.types import Floats, Ints, Trajectory
from embodia.envs.driving.vehicle.bicycle import ego_centers

HORIZONS = (3, 5, 8)  # [s]
LONGEST = max(HORIZONS)
STEP = 10  # frames between samples: 1 Hz
MAX_DISPLACEMENT = (6.0, 8.0, 16.0)  # [m] per horizon, beyond which a sample is a miss
MAX_MISS_RATE = 0.3
MAX_DISTANCE, MAX_HEADING = 8.0, 0.8  # [m], [rad] at which an error scores 0
MULTIPLIERS = ("planner_miss_rate_within_bound",)
WEIGHTS = {
    "planner_expert_average_l2_error_within_bound": 1.0,
    "planner_expert_final_l2_error_within_bound": 1.0,
    "planner_expert_average_heading_error_within_bound": 2.0,
    "planner_expert_final_heading_error_within_bound": 2.0,
}


def expert_samples(scenario: Scenario, last_sample: int) -> tuple[Ints, Floats]:
    """Times (S,) and rear-axle poses (S, 3) of the expert, 1 s apart, to 8 s beyond the last sample.

    The whole scenario is sampled first and the future counted from the last sample on, so that one time occurs twice
    when the scenario's length is a whole number of seconds (151 frames); it does in nuPlan, and scores depend on it.
    """
    frames = [*range(0, scenario.num_iterations, STEP), *(last_sample + STEP * k for k in range(1, LONGEST + 1))]
    rows = scenario.start + np.array(frames)
    if rows[-1] >= len(scenario.time_us):
        missing = (rows[-1] - len(scenario.time_us) + 1) * 0.1
        raise ValueError(
            f"scenario {scenario.token}: open-loop scores need {LONGEST} s of the log beyond iteration {last_sample}; "
            f"{missing:.1f} s are missing"
        )
    return scenario.time_us[rows], scenario.ego[rows, :3]


def pose_between(times: Ints, poses: Floats, time_us: int) -> Floats:
    """The expert's pose (3,) at a time, linear between samples."""
    headings = np.unwrap(poses[:, 2])
    return np.array([np.interp(time_us, times, column) for column in (poses[:, 0], poses[:, 1], headings)])


def matched_poses(trajectory: Trajectory, times: Ints, poses: Floats) -> tuple[Floats, Floats]:
    """Planned and expert poses (LONGEST, 3) at the expert's times, the first of which is now.

    A plan that ends before the last of them is compared by its last state with the expert at that time. Raises
    ValueError for a plan that is a second or more too short.
    """
    covered = times[times <= trajectory.end_us]
    planned = trajectory.at(covered)[:, :3]
    if len(covered) == LONGEST + 1:
        return planned[1:], poses[1 : LONGEST + 1]
    if len(covered) < LONGEST:
        raise ValueError(
            f"open-loop scores compare {LONGEST} s; the trajectory ends {(trajectory.end_us - times[0]) * 1e-6:.2f} s "
            "from now"
        )
    final = pose_between(times, poses, trajectory.end_us)
    return np.concatenate([planned[1:], trajectory.poses[-1:]]), np.concatenate([poses[1:LONGEST], final[None]])


def trajectory_errors(planned: Floats, expert: Floats) -> tuple[Floats, Floats]:
    """Displacement of the box centres [m] and |heading| error [rad], each (LONGEST,)."""
    offset = ego_centers(planned) - ego_centers(expert)
    turn = (planned[:, 2] - expert[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return np.hypot(offset[:, 0], offset[:, 1]), np.abs(turn)


def score_open_loop(history: History) -> ScenarioScore:
    """Open-loop metrics of a history's trajectories and their score (nuPlan challenge 1).

    Raises ValueError when the log or a trajectory does not reach 8 s ahead.
    """
    samples = range(0, len(history.trajectories), STEP)
    times, poses = expert_samples(history.scenario, samples[-1])
    errors = []
    for k, sample in enumerate(samples):
        window = slice(k, k + LONGEST + 1)
        errors.append(trajectory_errors(*matched_poses(history.trajectories[sample], times[window], poses[window])))
    distance, heading = (np.stack(e) for e in zip(*errors))  # each (samples, LONGEST)

    misses = [
        float(np.mean(distance[:, :h].max(axis=1) > bound)) for h, bound in zip(HORIZONS, MAX_DISPLACEMENT, strict=True)
    ]
    average = {
        name: np.mean([e[:, :h].mean() for h in HORIZONS]) for name, e in (("l2", distance), ("heading", heading))
    }
    final = {
        name: np.mean([e[:, h - 1].mean() for h in HORIZONS]) for name, e in (("l2", distance), ("heading", heading))
    }
    metrics = {"planner_miss_rate_within_bound": float(all(rate <= MAX_MISS_RATE for rate in misses))}
    for kind, bound in (("l2", MAX_DISTANCE), ("heading", MAX_HEADING)):
        for which, error in (("average", average[kind]), ("final", final[kind])):
            metrics[f"planner_expert_{which}_{kind}_error_within_bound"] = float(max(0.0, 1 - error / bound))
    metrics["score"] = weighted_score(metrics, MULTIPLIERS, WEIGHTS)
    statistics = {f"miss_rate_{h}s": rate for h, rate in zip(HORIZONS, misses, strict=True)}
    statistics |= {"ADE": float(average["l2"]), "FDE": float(final["l2"])}
    statistics |= {"AHE": float(average["heading"]), "FHE": float(final["heading"])}
    return ScenarioScore(metrics, statistics)
