"""Compare our engine with habitat-sim: by answers kept in a file, or side by side on the same episodes.

    python -m embodia.envs.homes.compare_engines answers tests/envs/homes/data/recast.npz
    python -m embodia.envs.homes.compare_engines episodes tests/envs/homes/data/apartment/apartment.glb

The first needs no habitat-sim: the file holds what Recast and Detour of habitat-sim 0.3.3 answered. The second drives
both engines with the same actions in whatever habitat_sim is installed, episodes in turn by the expert's actions and by
random ones, and measures the speed of both in turns. Both print Markdown tables.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.engine import EmbodiaEngine, Engine
from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimEngine
from embodia.envs.homes.engines.habitat_sim_install import HabitatSimMissing, import_habitat_sim, is_0_3_4
from embodia.envs.homes.episodes.dataset import EpisodeDataset, EpisodeError
from embodia.envs.homes.files.arrays import read_arrays
from embodia.envs.homes.navmesh.navigator import Navigator
from embodia.envs.homes.navmesh.navmesh import NavMeshError, NavMeshSettings, build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.observations import camera_pose
from embodia.envs.homes.tasks.navigation import TASKS, Camera
from embodia.envs.homes.vector_env import HomesVectorEnv

Array = NDArray[Any]

CLOSE = 2e-6  # [m] and relative: two roundings of single precision
CENTIMETRE = 0.01  # [m]
SPEED_CALLS, TURNS = 50, 3  # calls a turn, and turns of each engine that count
PAIRS = 20  # geodesic distances a call
CAMERAS = ("rgb", "depth", "semantic")
SHOTS = {"depth": ("depth",), "RGB": ("rgb",), "all three": CAMERAS}
READINGS = {
    "PointNav": ("pointgoal_with_gps_compass", "gps", "compass", "heading", "proximity"),
    "ObjectNav": ("objectgoal", "gps", "compass", "heading", "proximity"),
}


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


@dataclass(frozen=True)
class Comparison:
    """What `compare_episodes` found."""

    engines: tuple[str, str]
    steps: int
    agreement: dict[str, float]  # greatest differences, and shares or means over the steps
    speeds: dict[str, tuple[float, float]]  # of our engine and of habitat-sim [1/s]


def compare_episodes(scene: str, task: str, episodes: int, size: int) -> Comparison:
    """Play `episodes` levels of a scene with the same actions in both engines, and measure the speed of both.

    Raises HabitatSimMissing.
    """
    module, base = import_habitat_sim(), TASKS[task]
    camera = replace(base.camera, height=size, width=size)
    # Both walk on the navmesh of the installed version.
    settings = replace(base.navmesh, filter_exact_height_spans=not is_0_3_4(module))
    options: dict[str, Any] = {"task": task, "scenes": [scene], "height": size, "width": size}
    ours, theirs = EmbodiaEngine(settings), HabitatSimEngine(base, camera)
    try:
        data = _levels(HomesVectorEnv(1, engine=ours, sensors=("gps",), **options), episodes)
        options |= {"episodes": data, "sensors": (*CAMERAS, *READINGS[task])}
        envs = [HomesVectorEnv(1, engine=engine, **options) for engine in (ours, theirs)]
        steps, agreement = _drive_both(envs[0], envs[1], episodes, READINGS[task])
        return Comparison(("embodia", theirs.version), steps, agreement, _speeds(ours, theirs, options, camera))
    finally:
        theirs.close()
        ours.close()


def _levels(env: HomesVectorEnv, count: int) -> EpisodeDataset:
    levels = []
    for level in range(count):
        env.reset(seed=level)
        levels.append(env.episodes[0])
    return EpisodeDataset(tuple(each for each in levels if each is not None), category_ids=dict(env.suite.category_ids))


def _drive_both(
    ours: HomesVectorEnv, theirs: HomesVectorEnv, episodes: int, readings: Sequence[str]
) -> tuple[int, dict[str, float]]:
    steps, rng = 0, np.random.default_rng(0)
    names = ("position [m]", "distance to goal [m]", "reward", *readings, "expert's actions")
    greatest = dict.fromkeys(names, 0.0)
    sums = dict.fromkeys(("depth within 1 cm, share", "semantic ids equal, share", "rgb, mean difference"), 0.0)
    for level in range(episodes):
        first, second = ours.reset(seed=level)[0], theirs.reset(seed=level)[0]
        over, reward, reward_there = False, np.zeros(1), np.zeros(1)
        while not over:
            action, other = ours.expert_action(), theirs.expert_action()
            apart = _differences(ours, theirs, first, second, readings)
            apart |= {"reward": _apart(reward, reward_there), "expert's actions": float((action != other).any())}
            greatest = {name: max(value, apart[name]) for name, value in greatest.items()}
            low, high = ours.task.depth_range
            depth = np.abs(first["depth"] - second["depth"]) * (high - low)
            sums["depth within 1 cm, share"] += float((depth < CENTIMETRE).mean())
            sums["semantic ids equal, share"] += float((first["semantic"] == second["semantic"]).mean())
            sums["rgb, mean difference"] += float(np.abs(first["rgb"].astype(int) - second["rgb"]).mean())
            steps += 1
            if level % 2:  # random steps bump into walls, which the expert avoids
                action = rng.integers(1, 4, 1)
            first, reward, ended, cut, _ = ours.step(action)
            second, reward_there, *_ = theirs.step(action)
            over = bool(ended[0] | cut[0])
    return steps, {**greatest, **{name: value / steps for name, value in sums.items()}}


def _differences(
    ours: HomesVectorEnv, theirs: HomesVectorEnv, first: Any, second: Any, readings: Sequence[str]
) -> dict[str, float]:
    return {
        "position [m]": _apart(ours.poses.position, theirs.poses.position),
        "distance to goal [m]": _apart(ours.measures.distance_to_goal, theirs.measures.distance_to_goal),
        **{name: _apart(first[name], second[name]) for name in readings},
    }


def _apart(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours - theirs).max())


def _speeds(
    ours: EmbodiaEngine, theirs: HabitatSimEngine, options: dict[str, Any], camera: Camera
) -> dict[str, tuple[float, float]]:
    """Frames per second by sensors and cameras a call, and steps per second of a task with depth."""
    speeds = {}
    engines: tuple[Engine, Engine] = (ours, theirs)
    for count in (1, 8):
        worlds = [HomesVectorEnv(count, engine=engine, **options) for engine in engines]
        for world in worlds:
            world.reset(seed=0)
        eyes = camera_pose(worlds[0].poses, camera)
        for name, sensors in SHOTS.items():
            draws = [
                partial(engine.render, world.homes, *eyes, camera, sensors) for engine, world in zip(engines, worlds)
            ]
            speeds[f"frames, {name}, cameras a call: {count}"] = _in_turns(draws[0], draws[1], count)
    asks = [partial(_distances, engine.home(options["scenes"][0]).pathfinder) for engine in engines]
    speeds["geodesic distances"] = _in_turns(asks[0], asks[1], PAIRS)
    walks = []
    for engine in engines:
        env = HomesVectorEnv(1, engine=engine, **{**options, "sensors": ("depth", "gps")})
        env.reset(seed=0)
        walks.append(partial(_walk, env, np.random.default_rng(0)))
    speeds[f"steps of {options['task']}, depth"] = _in_turns(walks[0], walks[1], 1)
    return speeds


def _distances(finder: Navigator) -> None:
    places = finder.bounds[0] + np.random.default_rng(0).random((PAIRS, 2, 3)) * np.ptp(finder.bounds, axis=0)
    for start, end in places.astype(np.float32):
        finder.geodesic_distance(start, end)


def _walk(env: HomesVectorEnv, rng: np.random.Generator) -> None:
    env.step(rng.integers(1, 4, 1))


def _in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], count: int) -> tuple[float, float]:
    """Median rates [1/s] of two functions that do `count` things a call, called in turns."""
    rates: list[list[float]] = [[], []]
    for turn in range(TURNS + 1):
        for rate, work in zip(rates, (ours, theirs)):
            begun = time.perf_counter()
            for _ in range(SPEED_CALLS):
                work()
            if turn:  # the first one compiles kernels
                rate.append(count * SPEED_CALLS / (time.perf_counter() - begun))
    return float(np.median(rates[0])), float(np.median(rates[1]))


# --- the command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m embodia.envs.homes.compare_engines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    answers = commands.add_parser("answers", help="compare with answers kept in a file")
    answers.add_argument("file", type=Path, help="an .npz like tests/envs/homes/data/recast.npz")
    both = commands.add_parser("episodes", help="run the same episodes in both engines (needs habitat_sim)")
    both.add_argument("scene", help="a scene file, or a generated home such as home-7-low")
    both.add_argument("--task", default="PointNav", choices=tuple(READINGS))
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


def _print_episodes(found: Comparison) -> None:
    print(f"{found.engines[0]} and {found.engines[1]}, {found.steps} steps\n")
    print("| measure | value |")
    print("|---|---:|")
    for name, value in found.agreement.items():
        print(f"| {name} | {value:.5g} |")
    print(f"\n| per second | {found.engines[0]} | habitat-sim | ratio |")
    print("|---|---:|---:|---:|")
    for name, (ours, theirs) in found.speeds.items():
        print(f"| {name} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
