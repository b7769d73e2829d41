"""The laser scanner: analytic distances, an independent ray caster, batches, and bad input."""

import numpy as np
import pytest

from embodia.envs.driving.sensors.laser import LaserScanner, returns, scan
from embodia.envs.driving.sensors.solids import EDGE, GROUND, NOTHING

CENTIMETRE = 0.01
NO_WALLS = np.zeros((1, 0, 5)), np.zeros((1, 0), np.int32)
NO_SOLIDS = np.zeros((1, 0, 7)), np.zeros((1, 0), np.int32)
TILTED = tuple(np.linspace(-24.0, 8.0, 16))


def one(scanner, pose, solids=(), walls=()):
    """Scan one scene; solids have the ids 10, 11, ..., walls the id EDGE."""
    boxes = np.array(solids, float).reshape(1, -1, 7)
    lines = np.array(walls, float).reshape(1, -1, 5)
    ids = 10 + np.arange(boxes.shape[1])[None]
    ranges, names = scan(scanner, np.array([pose], float), boxes, ids, lines, np.full(lines.shape[:2], EDGE))
    return ranges[0], names[0]


def random_scenes(rng, scenes, solids=30, walls=20):
    boxes = np.concatenate(
        [
            rng.uniform(-50, 50, (scenes, solids, 2)),
            rng.uniform(-np.pi, np.pi, (scenes, solids, 1)),
            rng.uniform(0.4, 12, (scenes, solids, 2)),
            rng.uniform(0, 1.5, (scenes, solids, 1)),
            rng.uniform(1.6, 6, (scenes, solids, 1)),
        ],
        axis=-1,
    )
    starts = rng.uniform(-60, 60, (scenes, walls, 2))
    ends = starts + rng.uniform(-20, 20, (scenes, walls, 2))
    lines = np.concatenate([starts, ends, rng.uniform(0.2, 3, (scenes, walls, 1))], axis=-1)
    poses = np.concatenate([rng.uniform(-5, 5, (scenes, 2)), rng.uniform(-np.pi, np.pi, (scenes, 1))], axis=-1)
    return poses, boxes, 10 + np.tile(np.arange(solids), (scenes, 1)), lines, np.full((scenes, walls), EDGE)


def test_a_wall_ahead():
    """A wall 20 m ahead: 20 / cos(azimuth), whatever the scanner's heading."""
    scanner = LaserScanner(720, max_range=60.0)
    for heading in (0.0, 0.7, -2.5):
        ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        ends = [*(20 * ahead - 500 * left), *(20 * ahead + 500 * left)]
        ranges, ids = one(scanner, (0, 0, heading), walls=[(*ends, 2.0)])
        turn = 2 * np.pi * np.arange(720) / 720
        with np.errstate(divide="ignore"):
            truth = np.where(np.cos(turn) > 0, 20 / np.cos(turn), np.inf)
        seen = truth < 60
        np.testing.assert_allclose(ranges[0, seen], truth[seen], atol=CENTIMETRE)
        assert (ids[0] == np.where(seen, EDGE, NOTHING)).all()
        assert (ranges[0, ~seen] == np.float32(60)).all()


@pytest.mark.parametrize("turn", [0.0, 0.3, np.pi / 4, 1.2])
def test_a_box_at_an_angle(turn):
    """The beam ahead meets the near side of a turned box, at its centre's distance less half its width over cos."""
    ranges, ids = one(LaserScanner(4), (0, 0, 0), [(30, 0, turn, 8, 2, 0, 2)])
    depth = min(4 / max(abs(np.cos(turn)), 1e-12), 1 / max(abs(np.sin(turn)), 1e-12))
    assert ranges[0, 0] == pytest.approx(30 - depth, abs=CENTIMETRE)
    assert ids[0].tolist() == [10, NOTHING, NOTHING, NOTHING]


def test_the_ground():
    scanner = LaserScanner(8, (-30.0, -5.0, -1.0, 0.0, 10.0), max_range=50.0, height=1.8)
    ranges, ids = one(scanner, (3, -4, 1))
    for row, elevation in enumerate(scanner.elevations):
        truth = 1.8 / np.sin(np.radians(-elevation)) if elevation < 0 else np.inf
        np.testing.assert_allclose(ranges[row], min(truth, 50.0), atol=CENTIMETRE)
        assert (ids[row] == (GROUND if truth < 50 else NOTHING)).all()
    points = returns(scanner, ranges)
    np.testing.assert_allclose(points[:2, :, 2], -1.8, atol=CENTIMETRE)
    assert np.isnan(points[2:]).all(), "1.8 m / sin(1 degree) is beyond 50 m"


def test_the_lid_of_a_low_box():
    """A beam that passes over the near side meets the lid behind it."""
    scanner = LaserScanner(1, (-20.0,), height=2.0)
    ranges, ids = one(scanner, (0, 0, 0), [(4, 0, 0, 4, 4, 0, 1)])
    assert ranges[0, 0] == pytest.approx(1 / np.sin(np.radians(20)), abs=CENTIMETRE)
    assert ids[0, 0] == 10


def test_beams_pass_over_and_under():
    scanner = LaserScanner(1, (-1.0, 0.0, 20.0), height=1.5)
    ranges, ids = one(scanner, (0, 0, 0), [(10, 0, 0, 2, 2, 0, 1.2), (20, 0, 0, 2, 2, 3.0, 9.0)])
    assert ids[:, 0].tolist() == [NOTHING if 1.5 / np.sin(np.radians(1)) > 80 else GROUND, NOTHING, 11]
    assert ranges[2, 0] == pytest.approx(19 / np.cos(np.radians(20)), abs=CENTIMETRE)


def test_the_nearest_object_returns():
    solids = [(40, 0, 0, 4, 2, 0, 2), (20, 0, 0, 4, 2, 0, 2), (30, 0, 0, 4, 2, 0, 2)]
    ranges, ids = one(LaserScanner(1), (0, 0, 0), solids)
    assert ids[0, 0] == 11
    assert ranges[0, 0] == pytest.approx(18, abs=CENTIMETRE)


def test_the_box_around_the_scanner_is_not_seen():
    _, ids = one(LaserScanner(16, (-10.0, 0.0), height=1.0), (0, 0, 0), [(0, 0, 0, 4, 2, 0, 2)])
    assert (ids[0] == GROUND).all()
    assert (ids[1] == NOTHING).all()


def reference(scanner, pose, solids, walls):
    """Ranges (E, K) by slabs in three dimensions, one beam after another."""
    height, limit = scanner.height, scanner.max_range
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    beams = scanner.directions() @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    eye = np.array([pose[0], pose[1], height])
    found = np.full(beams.shape[:2], limit)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = -height / beams[..., 2]
        found = np.where((down > 0) & (down < found), down, found)
        for x, y, heading, length, width, bottom, top in solids:
            axes = np.array([[np.cos(heading), np.sin(heading), 0], [-np.sin(heading), np.cos(heading), 0], [0, 0, 1]])
            centre, half = np.array([x, y, (bottom + top) / 2]), np.array([length, width, top - bottom]) / 2
            start, toward = axes @ (eye - centre), beams @ axes.T
            if (np.abs(start) <= half).all():
                continue
            ends = np.stack([(-half - start) / toward, (half - start) / toward])
            enter, leave = ends.min(0).max(-1), ends.max(0).min(-1)
            found = np.where((enter <= leave) & (enter > 0) & (enter < found), enter, found)
        for x0, y0, x1, y1, tall in walls:
            normal = np.array([y1 - y0, x0 - x1, 0])
            reach = ((np.array([x0, y0, 0]) - eye) @ normal) / (beams @ normal)
            points = eye + beams * reach[..., None]
            share = ((points[..., :2] - [x0, y0]) @ [x1 - x0, y1 - y0]) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
            on = (share >= 0) & (share <= 1) & (points[..., 2] >= 0) & (points[..., 2] <= tall)
            found = np.where(on & (reach > 0) & (reach < found), reach, found)
    return found


def test_ranges_equal_an_independent_ray_caster():
    rng = np.random.default_rng(0)
    scanner = LaserScanner(180, TILTED, max_range=70.0, height=1.7)
    poses, solids, solid_ids, walls, wall_ids = random_scenes(rng, 6)
    ranges, _ = scan(scanner, poses, solids, solid_ids, walls, wall_ids)
    for n in range(6):
        truth = reference(scanner, poses[n], solids[n], walls[n])
        close = np.abs(ranges[n] - truth) < CENTIMETRE
        assert close.mean() > 0.9999, "at most a beam along an edge may differ"


def test_a_batch_equals_its_scenes_alone():
    scanner = LaserScanner(90, TILTED)
    scenes = random_scenes(np.random.default_rng(1), 5)
    ranges, ids = scan(scanner, *scenes)
    for n in range(5):
        alone = scan(scanner, *(each[n : n + 1] for each in scenes))
        np.testing.assert_array_equal(alone[0][0], ranges[n])
        np.testing.assert_array_equal(alone[1][0], ids[n])


def test_rows_with_id_0_are_padding():
    scanner = LaserScanner(90, TILTED)
    poses, solids, solid_ids, walls, wall_ids = random_scenes(np.random.default_rng(2), 1)
    kept = solid_ids * (np.arange(30) % 2)
    some = scan(scanner, poses, solids, kept, walls, 0 * wall_ids)
    odd = scan(scanner, poses, solids[:, 1::2], solid_ids[:, 1::2], np.zeros((1, 0, 5)), np.zeros((1, 0)))
    np.testing.assert_array_equal(some[0], odd[0])
    np.testing.assert_array_equal(some[1], odd[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"azimuths": 0}, "azimuths is 0"),
        ({"elevations": ()}, "elevations are"),
        ({"elevations": (95.0,)}, "elevations are"),
        ({"max_range": -1.0}, "max_range"),
        ({"height": float("nan")}, "height"),
    ],
)
def test_impossible_scanners(options, message):
    with pytest.raises(ValueError, match=message):
        LaserScanner(**options)


def test_bad_scenes():
    good = np.zeros((1, 3))
    with pytest.raises(ValueError, match="poses of scene 0 are not finite"):
        scan(LaserScanner(), np.full((1, 3), np.nan), *NO_SOLIDS, *NO_WALLS)
    with pytest.raises(ValueError, match="solids have shape"):
        scan(LaserScanner(), good, np.zeros((1, 2, 5)), np.ones((1, 2)), *NO_WALLS)
    with pytest.raises(ValueError, match="walls have shape"):
        scan(LaserScanner(), good, *NO_SOLIDS, np.zeros((2, 1, 5)), np.ones((2, 1)))
