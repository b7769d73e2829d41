"""The LQR tracker against the reference's golden values and against a plain least-squares solution of its fit."""

import numpy as np
import pytest

from embodia.envs.driving.types import STATE_SIZE, InvalidTrajectory, StateColumn, Trajectory
from embodia.envs.driving.vehicle.bicycle import bicycle_step
from embodia.envs.driving.vehicle.lqr import (
    DT,
    fit_reference,
    interpolate,
    lqr_commands,
    reference_of,
    simulate_proposals,
    track,
)

C = StateColumn


def poses_on_arc(curvature, v, a=0.0, num_poses=81):
    t = np.arange(num_poses) * DT
    s = v * t + a * t**2 / 2
    if curvature == 0:
        return np.column_stack([s, np.zeros_like(s), np.zeros_like(s)])
    turned = curvature * s
    heading = (turned + np.pi) % (2 * np.pi) - np.pi
    return np.column_stack([np.sin(turned) / curvature, (1 - np.cos(turned)) / curvature, heading])


def trajectory_on_arc(*args, **kwargs):
    poses = poses_on_arc(*args, **kwargs)
    return Trajectory.from_poses(np.arange(len(poses)) * 100_000, poses)


def ego(x, y, heading, v, steering):
    state = np.zeros(STATE_SIZE)
    state[[C.X, C.Y, C.HEADING, C.VX, C.STEERING]] = x, y, heading, v, steering
    return state


@pytest.mark.parametrize(
    ("state", "arc", "v_ref", "acceleration", "rate"),
    [
        ((0, 0.5, 0, 8, 0), (0, 10), 9.99999999999993, 1.8181818181817537, -0.05511885532884031),
        ((0, 0, 0, 8, np.arctan(0.02 * 3.089)), (0.02, 8), 7.99965867103555, -0.0003102990585909541,
         0.00020831715390081746),
        ((0.3, -0.2, 0.1, 5, 0.05), (-0.05, 6), 5.999100040499197, 0.9082727640901793, -0.5728005797944762),
        ((0, 0, 0, 2, 0), (0, 2, 1), 3.049999999999937, 0.9545454545453975, 0),
        ((0, 0, 0, 0.15, 0.1), (0, 0), 0, -0.075, 0),
        ((0, 0, 0, 5, 0), (0, 0), 0, -4.545454545454546, 0),
    ],
)  # fmt: skip
def test_golden_commands(state, arc, v_ref, acceleration, rate):
    trajectory = trajectory_on_arc(*arc)
    reference = reference_of(trajectory)
    assert interpolate(reference.velocity[0], reference.times(), 1.0) == pytest.approx(v_ref, abs=1e-9)
    np.testing.assert_allclose(track(ego(*state), trajectory, 0), [acceleration, rate], atol=1e-9)


def test_golden_closed_loop_on_an_arc():
    trajectory = trajectory_on_arc(0.02, 8, num_poses=121)
    state, reference = ego(0, 0.5, 0.05, 6, 0), reference_of(trajectory)
    golden = {
        1: {C.X: 0.5992501562369796, C.Y: 0.529987501562407, C.HEADING: 0.04999999999999982, C.VX: 6.06059571730413,
            C.AX: 0.6059571730412986, C.STEERING: 0.0003382281596511772},
        10: {C.X: 6.485861631012547, C.Y: 0.8674361049334186, C.HEADING: 0.08246376613617734, C.VX: 7.157500572813971,
             C.AX: 1.0452042951973106, C.STEERING: 0.04591330747656177},
        20: {C.X: 13.879870126435447, C.Y: 1.9900557014569946, C.HEADING: 0.2560631002098388, C.VX: 7.765173243558364,
             C.STEERING: 0.09142026132323254},
        40: {C.X: 27.956991822783507, C.Y: 8.990139936690008, C.HEADING: 0.6433350463065746, C.VX: 7.984439807481238,
             C.STEERING: 0.0487037594534896},
    }  # fmt: skip
    for step in range(1, 41):
        command = track(state, trajectory, (step - 1) * 100_000, reference)
        state = bicycle_step(state, command[0], command[1], DT)
        for column, value in golden.get(step, {}).items():
            assert state[column] == pytest.approx(value, abs=1e-9), (step, column)


def test_golden_profiles():
    reference = fit_reference(poses_on_arc(0.05, 2, 1, num_poses=11)[None])
    velocity, curvature = reference.velocity[0], reference.curvature[0]
    assert velocity[[0, 9]] == pytest.approx([2.0499643692824776, 2.9498933681194233], abs=1e-9)
    assert (velocity[1] - velocity[0]) / DT == pytest.approx(0.9999416902686379, abs=1e-9)
    assert curvature[[0, 9]] == pytest.approx([0.05000120863928212, 0.05000153466099764], abs=1e-9)


def nuplans_penalty(m):
    rows = np.zeros((m - 2, m))
    rows[np.arange(m - 2), np.arange(1, m - 1)], rows[np.arange(m - 2), np.arange(2, m)] = -1, 1
    return rows


def tuplans_penalty(m):
    """As tuplan_garage computes it: the second assignment overwrites all but the last row of the first."""
    rows = np.zeros((m - 2, m - 1))
    rows[:, 1:] = np.eye(m - 2)
    rows[:, :-1] = -np.eye(m - 2)
    return np.concatenate([np.zeros((m - 2, 1)), rows], axis=1)


@pytest.mark.parametrize(("penalty", "rows_of"), [("jerk", nuplans_penalty), ("acceleration", tuplans_penalty)])
def test_profiles_solve_the_regularised_least_squares(penalty, rows_of):
    """The constant matrix and the spring chain against the normal equations, written out and solved densely."""
    rng = np.random.default_rng(0)
    poses = poses_on_arc(0.03, 6, 0.5, num_poses=41) + rng.normal(scale=0.02, size=(41, 3))
    reference = fit_reference(poses[None], penalty=penalty)
    steps = np.diff(poses, axis=0)
    m = len(steps)
    cumulate = np.tri(m, m, -1)[:, : m - 1]
    design = np.zeros((2 * m, m))
    for k, heading in enumerate(poses[:-1, 2]):
        row = DT * np.concatenate([[1.0], DT * cumulate[k]])
        design[2 * k], design[2 * k + 1] = np.cos(heading) * row, np.sin(heading) * row
    rows = rows_of(m)
    fit = np.linalg.solve(design.T @ design + 1e-4 * rows.T @ rows, design.T @ steps[:, :2].ravel())
    velocity = fit[0] + DT * cumulate @ fit[1:]
    np.testing.assert_allclose(reference.velocity[0], velocity, atol=1e-8)

    design = velocity[:, None] * DT * np.column_stack([np.ones(m), DT * cumulate])
    penalty = np.diag([1e-10] + [1e-2] * (m - 1))
    fit = np.linalg.solve(design.T @ design + penalty, design.T @ steps[:, 2])
    np.testing.assert_allclose(reference.curvature[0], fit[0] + DT * cumulate @ fit[1:], atol=1e-8)


def test_a_batch_of_proposals_equals_each_driven_alone():
    state = ego(0, 0.2, 0.05, 6, 0.01)
    proposals = np.stack([poses_on_arc(k, v, num_poses=41) for k in (0, 0.02, -0.03) for v in (0, 5, 8)])
    together = simulate_proposals(state, proposals)
    for b, poses in enumerate(proposals):
        trajectory = Trajectory.from_poses(np.arange(41) * 100_000, poses)
        reference = fit_reference(poses[None], penalty="acceleration")
        alone = state
        for k in range(40):
            command = track(alone, trajectory, k * 100_000, reference)
            alone = bicycle_step(alone, command[0], command[1], DT)
            np.testing.assert_allclose(together[b, k + 1], alone, atol=1e-9)


def test_heading_may_cross_the_wrap():
    """The same motion turned by 2.5 rad gives the same commands, though its headings jump from pi to -pi."""
    poses, turn = poses_on_arc(0.05, 8), 3.0
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.column_stack([poses[:, :2] @ np.array([[cos, sin], [-sin, cos]]), poses[:, 2] + turn])
    turned[:, 2] = (turned[:, 2] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.diff(turned[:, 2])).max() > 6
    commands = []
    for path, heading in ((poses, 0.1), (turned, 0.1 + turn)):
        reference = fit_reference(path[None])
        state = ego(0, 0, heading, 7, 0.02)[None]
        commands.append(
            lqr_commands(state, path[None, 0], reference.velocity, reference.curvature, reference.times(), 0.0)[0]
        )
    np.testing.assert_allclose(commands[0], commands[1], atol=1e-9)


def test_two_poses_cannot_be_tracked():
    with pytest.raises(InvalidTrajectory, match="3 poses"):
        track(ego(0, 0, 0, 1, 0), trajectory_on_arc(0, 1, num_poses=2), 0)
