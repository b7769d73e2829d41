"""What Recast and Detour answer as built into habitat-sim 0.3.3, on three scenes: ours are the same to the last bit.

`data/recast.npz` holds the meshes, and per scene the navmesh's vertices, steps, walks along walls, geodesic distances
and distances to walls; `data/detour_snap.npz` where points off the mesh are put.
"""

from pathlib import Path

import numpy as np
import pytest

from embodia.envs.homes.navmesh.navmesh import NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder

DATA = Path(__file__).parents[1] / "data"
ANSWERS = np.load(DATA / "recast.npz")
SNAPPED = np.load(DATA / "detour_snap.npz")
SCENES = sorted({name.split("|")[0] for name in ANSWERS.files})


@pytest.fixture(scope="module", params=SCENES)
def case(request):
    """A path finder, and what habitat-sim's answered."""
    answers = {name.split("|")[1]: ANSWERS[name] for name in ANSWERS.files if name.startswith(request.param + "|")}
    answers |= {"snap " + n.split("|")[1]: SNAPPED[n] for n in SNAPPED.files if n.startswith(request.param + "|")}
    settings = NavMeshSettings(agent_radius=float(answers["radius"]))
    return PathFinder(build_navmesh(answers["vertices"], answers["faces"], settings, request.param)), answers


def assert_equal_answers(ours, theirs):
    """Equal up to a rounding or two of single precision, and nearly all to the last bit."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-6)
    same = ((ours == theirs) | np.isnan(theirs)).reshape(len(ours), -1).all(axis=1)
    assert same.mean() >= 0.99


def test_scenes():
    assert len(SCENES) == 3


def test_vertices(case):
    finder, answers = case
    ours, theirs = ({tuple(v) for v in vertices.tolist()} for vertices in (finder.mesh.vertices, answers["mesh"]))
    assert ours == theirs


@pytest.mark.parametrize(("answer", "verb"), [("slide", "try_step"), ("noslide", "try_step_no_sliding")])
def test_steps(case, answer, verb):
    finder, answers = case
    steps = [getattr(finder, verb)(start, end) for start, end in zip(answers["points"], answers["to"])]
    assert_equal_answers(steps, answers[answer])


def test_walks_along_walls(case):
    finder, answers = case
    start, end, reached = np.split(answers["walk"], 3, axis=1)
    assert_equal_answers([finder.try_step_no_sliding(a, b) for a, b in zip(start, end)], reached)


def test_geodesic_distances(case):
    finder, answers = case
    start, end = answers["points"][:200], answers["points"][200:]
    assert_equal_answers([finder.geodesic_distance(a, b) for a, b in zip(start, end)], answers["geo"])
    exact = np.array([finder.shortest_distance(a, finder.goal_set(b)) for a, b in zip(start, end)])
    np.testing.assert_array_equal(np.isfinite(exact), np.isfinite(answers["geo"]))
    # Heights count at bends only, so on an uneven floor a path that bends elsewhere may come out shorter.
    slack = 1e-6 if np.ptp(finder.mesh.vertices[:, 1]) < 1e-6 else 2e-3
    assert (exact <= answers["geo"] * (1 + slack)).all(), "never longer than Detour's"


def test_distances_to_walls(case):
    finder, answers = case
    ours = [finder.distance_to_closest_obstacle(point) for point in answers["points"][:100]]
    assert_equal_answers(ours, answers["wall"])


def test_snapping_far_off_the_mesh(case):
    """By the boxes of polygons, not by their distance; near the lowest corner polygon 0 is always looked at."""
    finder, answers = case
    asked, theirs = answers["snap points"], answers["snap snapped"]
    assert_equal_answers([finder.snap_point(point) for point in asked], theirs)
    there = np.isfinite(theirs).all(axis=1)
    assert 0 < there.mean() < 1
    assert np.abs(theirs - asked)[there].max() > 2, "further than half the box that is searched"
