"""Compare our engine with habitat-sim: by answers kept in a file, or side by side on the same episodes.

    python -m embodia.envs.homes.engines.compare answers tests/envs/homes/data/recast.npz
    python -m embodia.envs.homes.engines.compare episodes tests/envs/homes/data/apartment/apartment.glb

The first needs no habitat-sim: the file holds what Recast and Detour of habitat-sim 0.3.3 answered. The second drives
both engines with the same actions in whatever habitat_sim is installed. Both print a Markdown table.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimMissing, import_habitat_sim
from embodia.envs.homes.episodes.dataset import EpisodeDataset, EpisodeError
from embodia.envs.homes.files.arrays import read_arrays
from embodia.envs.homes.navmesh.navmesh import NavMeshError, NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.vector_env import HomesVectorEnv

Array = NDArray[Any]

CLOSE = 2e-6  # [m] and relative: two roundings of single precision
CENTIMETRE = 0.01  # [m]
SPEED_STEPS = 200  # of a measurement
CAMERAS = ("rgb", "depth", "semantic")


# --- answers kept in a file


def compare_answers(path: Path) -> list[tuple[str, str, int, float, float, float]]:
    """(scene, question, cases, share equal to the last bit, share within CLOSE, greatest difference) of each question.

    Raises EpisodeError for a file that holds no such answers.
    """
    try:
        stored = read_arrays(path)
        scenes = dict.fromkeys(name.split("|")[0] for name in stored)
        answers = {s: {n.split("|")[1]: a for n, a in stored.items() if n.startswith(f"{s}|")} for s in scenes}
        return [(scene, *row) for scene in scenes for row in _questions(answers[scene], scene)]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise EpisodeError(f"{path} holds no answers of habitat-sim ({type(error).__name__}: {error}).") from error


def _questions(answers: dict[str, Array], name: str) -> Iterator[tuple[str, int, float, float, float]]:
    settings = NavMeshSettings(agent_radius=float(answers["radius"]))
    finder = PathFinder(build_navmesh(answers["vertices"], answers["faces"], settings, name))
    half = len(answers["points"]) // 2
    starts, ends = answers["points"][:half], answers["points"][half:]
    walk_from, walk_to, walk_result = np.split(answers["walk"], 3, axis=1)
    ours, theirs = (np.array(sorted(map(tuple, mesh.tolist()))) for mesh in (finder.mesh.vertices, answers["mesh"]))
    near = answers["points"][: len(answers["wall"])]
    asked: dict[str, tuple[Any, Array]] = {
        "navmesh vertices": (ours if ours.shape == theirs.shape else np.full_like(theirs, np.nan), theirs),
        "steps, sliding": (_each(finder.try_step, answers["points"], answers["to"]), answers["slide"]),
        "steps, not sliding": (_each(finder.try_step_no_sliding, answers["points"], answers["to"]), answers["noslide"]),
        "steps along walls": (_each(finder.try_step_no_sliding, walk_from, walk_to), walk_result),
        "geodesic distances": (_each(finder.geodesic_distance, starts, ends), answers["geo"]),
        "distances to walls": (_each(finder.distance_to_closest_obstacle, near), answers["wall"]),
    }
    for question, (mine, right) in asked.items():
        yield question, len(right), *_agreement(np.asarray(mine, np.float64), right.astype(np.float64))


def _each(ask: Callable[..., Any], *columns: Array) -> list[Any]:
    return [ask(*row) for row in zip(*columns, strict=True)]


def _agreement(ours: Array, theirs: Array) -> tuple[float, float, float]:
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(ours - theirs))
    close = same | (apart <= CLOSE * (1 + np.abs(theirs)))
    rows = len(theirs)
    return _share(same, rows), _share(close, rows), float(np.nan_to_num(apart, nan=np.inf).max())


def _share(fine: Array, rows: int) -> float:
    """Share of cases of which everything is fine."""
    return float(fine.reshape(rows, -1).all(axis=1).mean())


# --- the same episodes in both engines


def compare_episodes(scene: str, task: str, episodes: int, size: int) -> dict[str, float]:
    """Greatest differences and shares over the expert's walks through `episodes` levels of a scene.

    Raises HabitatSimMissing.
    """
    import_habitat_sim()
    options: dict[str, Any] = {"task": task, "scenes": [scene], "height": size, "width": size}
    source = HomesVectorEnv(1, sensors=("gps",), **options)
    levels = []
    for level in range(episodes):
        source.reset(seed=level)
        levels.append(source.episodes[0])
    data = EpisodeDataset(
        tuple(each for each in levels if each is not None), category_ids=dict(source.suite.category_ids)
    )
    source.close()
    options |= {"episodes": data, "sensors": (*CAMERAS, "gps", "compass", "proximity")}
    ours, theirs = (HomesVectorEnv(1, engine=engine, **options) for engine in ("embodia", "habitat-sim"))
    try:
        found = _drive_both(ours, theirs, episodes)
        speeds = {name: _frames_per_second(env) for name, env in (("embodia", ours), ("habitat-sim", theirs))}
        found |= {f"frames/s, {name}": speed for name, speed in speeds.items()}
        return {**found, "speed as a ratio to habitat-sim": speeds["embodia"] / speeds["habitat-sim"]}
    finally:
        theirs.close()
        ours.close()


def _drive_both(ours: HomesVectorEnv, theirs: HomesVectorEnv, episodes: int) -> dict[str, float]:
    steps, shares = 0, {"depth within 1 cm, share": 0.0, "semantic ids equal, share": 0.0, "rgb, mean difference": 0.0}
    greatest = dict.fromkeys(("position [m]", "distance to goal [m]", "reward", "sensors", "expert's actions"), 0.0)
    for level in range(episodes):
        first, second = ours.reset(seed=level)[0], theirs.reset(seed=level)[0]
        over = False
        while not over:
            action, other = ours.expert_action(), theirs.expert_action()
            apart = {
                "position [m]": np.abs(ours.poses.position - theirs.poses.position).max(),
                "distance to goal [m]": np.abs(ours.measures.distance_to_goal - theirs.measures.distance_to_goal).max(),
                "sensors": max(np.abs(first[n] - second[n]).max() for n in ("gps", "compass", "proximity")),
                "expert's actions": float((action != other).any()),
            }
            low, high = ours.task.depth_range
            depth = np.abs(first["depth"] - second["depth"]) * (high - low)
            shares["depth within 1 cm, share"] += float((depth < CENTIMETRE).mean())
            shares["semantic ids equal, share"] += float((first["semantic"] == second["semantic"]).mean())
            shares["rgb, mean difference"] += float(np.abs(first["rgb"].astype(int) - second["rgb"]).mean())
            steps += 1
            first, reward, ended, cut, _ = ours.step(action)
            second, reward_there, *_ = theirs.step(action)
            apart["reward"] = abs(float(reward[0] - reward_there[0]))
            greatest = {name: max(value, float(apart[name])) for name, value in greatest.items()}
            over = bool(ended[0] | cut[0])
    return {"steps": float(steps), **greatest, **{name: value / steps for name, value in shares.items()}}


def _frames_per_second(env: HomesVectorEnv) -> float:
    """Of all sensors while turning and walking at random."""
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    begun = time.perf_counter()
    for _ in range(SPEED_STEPS):
        env.step(rng.integers(1, 4, 1))
    return SPEED_STEPS / (time.perf_counter() - begun)


# --- the command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m embodia.envs.homes.engines.compare", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    answers = commands.add_parser("answers", help="compare with answers kept in a file")
    answers.add_argument("file", type=Path, help="an .npz like tests/envs/homes/data/recast.npz")
    both = commands.add_parser("episodes", help="run the same episodes in both engines (needs habitat_sim)")
    both.add_argument("scene", help="a scene file, or a generated home such as home-7-low")
    both.add_argument("--task", default="PointNav", choices=("PointNav", "ObjectNav"))
    both.add_argument("--episodes", type=int, default=5)
    both.add_argument("--size", type=int, default=128, help="height and width of the images in pixels")
    args = parser.parse_args(arguments)
    try:
        if args.command == "answers":
            _print_answers(compare_answers(args.file))
        else:
            _print_episodes(compare_episodes(args.scene, args.task, args.episodes, args.size))
    except (HabitatSimMissing, SceneError, NavMeshError, EpisodeError) as error:
        print(f"embodia: {error}", file=sys.stderr)
        return 2
    return 0


def _print_answers(rows: list[tuple[str, str, int, float, float, float]]) -> None:
    print("| scene | question | cases | equal to the last bit | equal to 2e-6 | greatest difference |")
    print("|---|---|---:|---:|---:|---:|")
    for scene, question, cases, same, close, apart in rows:
        print(f"| {scene} | {question} | {cases} | {100 * same:.1f} % | {100 * close:.1f} % | {apart:.1g} |")


def _print_episodes(found: dict[str, float]) -> None:
    print("| measure | value |")
    print("|---|---:|")
    for name, value in found.items():
        print(f"| {name} | {value:.5g} |")


if __name__ == "__main__":
    sys.exit(main())
