"""`embodia compare A B ...`: compare evaluations: two paired on their common seeds, several by groups of seeds."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from embodia.agents.training.scores import SIGN, Better
from embodia.scripts.assembly import runs
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.chart import span
from embodia.scripts.report.curves import draw_curves
from embodia.scripts.report.report import chance, plainly
from embodia.scripts.report.seeds import group_name, over_seeds
from embodia.scripts.report.statistics import Comparison, by_level, compare


@dataclass(frozen=True)
class Args:
    """Compare runs: two in pairs, on their common seeds; several, or all seeds of a preset, by group.

    Runs whose names differ only in their seed are a group (ppo-empty-seed0, ppo-empty-seed1), with one line and an
    interval over seeds and episodes. Two runs are compared on the levels that both played, with a paired test.
    """

    targets: tyro.conf.Positional[tuple[str, ...]]
    """Runs or evaluations: folders with episodes.jsonl or names of runs. One preset stands for all its seeds."""
    plot: Path | None = None
    """Also draw the learning curves of the headline score into this picture, such as curves.png."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    confidence: float = 0.95
    """Level of the confidence intervals."""
    json: bool = False
    """Print the results as one JSON object at the end."""


Played = dict[int, dict[str, float]]
"""Seed -> score -> value."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia compare")
    if not 0 < args.confidence < 1:
        raise Mistake(f"--confidence is {args.confidence}; give a number between 0 and 1, such as 0.95")
    if args.plot is not None and args.plot.suffix.lower() not in PICTURES:
        raise Mistake(f"--plot {args.plot} is no picture; end its name in {', '.join(PICTURES)}")
    if not args.targets:
        raise Mistake("name the runs to compare, such as embodia compare runs/A runs/B, or a preset for all its seeds")
    seeds = seeds_of(args.targets[0], args.runs) if len(args.targets) == 1 else []
    folders = seeds or [find(each, args.runs) for each in args.targets]
    reports = same_setting(folders)
    better: dict[str, Better] = {name: way for made in reports for name, way in made.get("better", {}).items()}
    paired = len(folders) == 2 and len(args.targets) == 2
    found = in_pairs(folders, reports, better, args.confidence) if paired else {}
    if not paired:
        found = by_group(folders, reports, better, args.confidence)
    if args.plot is not None:
        draw(folders, reports[0]["headline"], args.plot, args.confidence)
    if args.json:
        print(json.dumps(found))
    return 0


PICTURES = (".png", ".pdf", ".svg")


def seeds_of(target: str, under: Path) -> list[Path]:
    """All finished runs of the preset `target`; none if it names a single run."""
    if Path(target).exists() or (under / target).exists():
        return []
    runs_of = (path for path in under.glob("*/episodes.jsonl") if path.parent.name.startswith(f"{target}-seed"))
    return sorted(path.parent for path in runs_of)


def in_pairs(
    folders: Sequence[Path], reports: Sequence[dict[str, Any]], better: dict[str, Better], confidence: float
) -> dict[str, Any]:
    """Print the paired comparison of two runs, and return it as plain values."""
    played, levels = zip(*(episodes(folder) for folder in folders), strict=True)
    seeds = sorted(set(played[0]) & set(played[1]))
    same_levels(folders, levels, seeds)
    if not seeds:
        raise Mistake(f"{folders[0]} and {folders[1]} have no common seed; evaluate both on the same seeds")
    names = common_scores([{seed: each[seed] for seed in seeds} for each in played])
    playing = [levels[0][seed] for seed in seeds]
    found = {}
    for name in names:
        a, b = by_level(playing, *([each[seed][name] for seed in seeds] for each in played))
        found[name] = compare(a, b, confidence, better.get(name, "higher"))
    setting = f"{reports[0]['env']}, {reports[0]['split']} levels"
    distinct = len(set(playing))
    repeats = f" ({distinct} distinct level{'s' * (distinct > 1)}; repeats count once)" if distinct < len(seeds) else ""
    print(f"A = {folders[0]}\nB = {folders[1]}\n{len(seeds)} common seeds of {setting}{repeats}, A - B:\n")
    print(table(found, played, seeds, better))
    headline = reports[0]["headline"] if reports[0]["headline"] in found else names[0]
    print(f"\n{verdict(headline, found[headline], better.get(headline, 'higher'), confidence)}")
    return {
        "a": str(folders[0]),
        "b": str(folders[1]),
        "seeds": len(seeds),
        "levels": distinct,
        "headline": headline,
        "better": better,
        "scores": {name: plainly(each) for name, each in found.items()},
    }


def by_group(
    folders: Sequence[Path], reports: Sequence[dict[str, Any]], better: dict[str, Better], confidence: float
) -> dict[str, Any]:
    """Print each group's scores over its seeds, and return them as plain values."""
    groups, read = grouped(folders), {folder: episodes(folder) for folder in folders}
    for folder in folders[1:]:
        (ours, theirs) = known = (read[folders[0]][1], read[folder][1])
        same_levels((folders[0], folder), known, sorted(set(ours) & set(theirs)))
    print(f"{reports[0]['env']}, {reports[0]['split']} levels; intervals over seeds and episodes\n")
    found: dict[str, Any] = {}
    for group, members in groups.items():
        played, levels = zip(*(read[folder] for folder in members), strict=True)
        names = common_scores(played)
        values = {
            name: [
                by_level(list(known.values()), [each[name] for each in one.values()])[0]
                for one, known in zip(played, levels)
            ]
            for name in names
        }
        scores = {name: over_seeds(each, confidence) for name, each in values.items()}
        found[group] = {"seeds": len(members), "scores": {name: each._asdict() for name, each in scores.items()}}
        print(f"{group}: {len(members)} seed{'s' * (len(members) > 1)}, {sum(map(len, played))} episodes")
        width = max(map(len, names))
        for name, each in scores.items():
            own = ", ".join(f"{np.mean(one):.3g}" for one in values[name])
            print(
                f"  {name:{width}}  {span(each.value, each.low, each.high):<26} {better.get(name, ''):<7} seeds: {own}"
            )
    return {"groups": found, "headline": reports[0]["headline"], "better": better}


def common_scores(played: Sequence[Played]) -> list[str]:
    """Scores that every episode has; says which others there are."""
    each = [scores for one in played for scores in one.values()]
    names = dict.fromkeys(name for scores in each for name in scores)
    whole = [name for name in names if all(name in scores for scores in each)]
    for name in names:
        if name not in whole:
            lacking = sum(name not in scores for scores in each)
            print(f"{name}: {lacking} of {len(each)} episodes lack it, so it is not compared", file=sys.stderr)
    return whole


def grouped(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Folders by name without seed, and by the folder that they lie in where names alone are the same.

    Raises:
        Mistake: if a folder is named twice, since it would count as two seeds.
    """
    groups: dict[Path, list[Path]] = {}
    for folder in folders:
        own = folder.resolve()
        inside = own.name if (own.parent / runs.CONFIG).is_file() else ""  # an evaluation in its run's folder
        run = own.parent if inside else own
        members = groups.setdefault(run.parent / group_name(run.name) / inside, [])
        if own in (each.resolve() for each in members):
            raise Mistake(f"{folder} is named twice; name each run once")
        members.append(folder)
    last = [path.name for path in groups]
    return {path.name if last.count(path.name) == 1 else shortest(path): each for path, each in groups.items()}


def shortest(path: Path) -> str:
    """A path below the current folder if it is there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def draw(folders: Sequence[Path], headline: str, out: Path, confidence: float) -> None:
    if without := draw_curves(grouped(folders), headline, out, confidence):
        print(f"no curve of {headline} in {', '.join(without)}", file=sys.stderr)
    print(out)


def find(target: str, under: Path) -> Path:
    """Find a folder with episodes.jsonl. Raises Mistake if there is none."""
    if (Path(target) / "episodes.jsonl").is_file():
        return Path(target)
    if (under / target / "episodes.jsonl").is_file():
        return under / target
    run = runs.find(target, under)
    if not (run / "episodes.jsonl").is_file():
        raise Mistake(f"{run} has no episodes.jsonl yet; wait until its training ends, or run embodia eval {run}")
    return run


def same_setting(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the reports. Raises Mistake if environment or split differ, because then equal seeds are other levels."""
    reports = [report_of(folder) for folder in folders]
    for field in ("env", "split"):
        for made, folder in zip(reports, folders):
            if made[field] != reports[0][field]:
                raise Mistake(
                    f"they have different levels: {field} is {reports[0][field]} in {folders[0]}, but {made[field]} in "
                    f"{folder}; run embodia eval with the same --env and --split for all"
                )
    return reports


def report_of(folder: Path) -> dict[str, Any]:
    """Read a report. Raises Mistake, naming the field, if it is not one."""
    path = folder / "report.json"
    try:
        made = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); evaluate again") from error
    better = made.get("better", {}) if isinstance(made, dict) else None
    known = isinstance(better, dict) and all(str(way) in SIGN for way in better.values())
    bad = [name for name in ("env", "split", "headline") if known and not isinstance(made.get(name), str)]
    if bad or not known:
        raise Mistake(f"{path}: {bad[0] if bad else 'better'} is missing or of the wrong type; evaluate again")
    return made


def same_levels(folders: Sequence[Path], levels: Sequence[dict[int, str]], seeds: Sequence[int]) -> None:
    """Raise Mistake if a common seed was another level: other scenes, episode files or packs."""
    for seed in seeds:
        a, b = (each[seed] for each in levels)
        if a != b and unnamed(seed) not in (a, b):  # evaluations of versions without names of levels are paired by seed
            raise Mistake(
                f"the two have different levels: seed {seed} is level {a} in {folders[0]}, but {b} in "
                f"{folders[1]}; evaluate both with the same scenes, episode file or scenarios"
            )


def unnamed(seed: int) -> str:
    """Return a name for a level that its environment does not name."""
    return f"seed {seed}"


def episodes(folder: Path) -> tuple[Played, dict[int, str]]:
    """Read the agent's scores and the level's name, by seed. Raises Mistake, naming the line, if one cannot be read."""
    path = folder / "episodes.jsonl"
    played: Played = {}
    levels: dict[int, str] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            each: dict[str, Any] = json.loads(line)
            if each["policy"] == "agent":
                scores = {"return": each["return"], **each["metrics"], "length": each["length"]}
                seed = int(each["seed"])
                played[seed] = {name: number_of(name, value) for name, value in scores.items()}
                levels[seed] = str(each.get("level") or unnamed(seed))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise Mistake(f"{path} line {number} is invalid ({error}); evaluate again") from error
    if not played:
        raise Mistake(f"{path} has no episodes of an agent; evaluate again")
    return played, levels


def number_of(name: str, value: Any) -> float:
    """A score as a number. Raises ValueError if it is not a finite one."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def table(
    found: dict[str, Comparison], played: Sequence[Played], seeds: Sequence[int], better: dict[str, Better]
) -> str:
    """Format one line per score. A score without a direction (length) has no better/worse counts."""
    width = max(map(len, found))
    lines = [f"{'':{width}}  {'A':>8} {'B':>8}   {'difference':<26} better  A better/worse  test"]
    for name, each in found.items():
        means = [sum(one[seed][name] for seed in seeds) / len(seeds) for one in played]
        low, high = each.difference.low, each.difference.high
        counts = f"{each.better}/{each.worse}" if name in better else "-"
        lines.append(
            f"{name:{width}}  {means[0]:8.3f} {means[1]:8.3f}   {span(each.difference.value, low, high):<26} "
            f"{better.get(name, '-'):<7} {counts:<15} {each.test}, {chance(each.p_value)}"
        )
    return "\n".join(lines)


def verdict(name: str, found: Comparison, better: Better, confidence: float) -> str:
    """State in words whether A or B is better in the headline score."""
    if found.p_value >= 1 - confidence:
        return f"{name}: the difference may be noise ({chance(found.p_value)})."
    return f"{name}: {'A' if SIGN[better] * found.difference.value > 0 else 'B'} is better ({chance(found.p_value)})."
