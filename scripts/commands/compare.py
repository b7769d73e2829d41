"""`embodia compare A B ...`: compare evaluations: two paired on their common seeds, several by groups of seeds."""

import json
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
    return sorted(path.parent for path in under.glob(f"{target}-seed*/episodes.jsonl"))


def in_pairs(
    folders: Sequence[Path], reports: Sequence[dict[str, Any]], better: dict[str, Better], confidence: float
) -> dict[str, Any]:
    """Print the paired comparison of two runs, and return it as plain values."""
    played, levels = zip(*(episodes(folder) for folder in folders), strict=True)
    seeds = sorted(set(played[0]) & set(played[1]))
    same_levels(folders, levels, seeds)
    names = [name for name in played[0][seeds[0]] if name in played[1][seeds[0]]] if seeds else []
    if not names:
        raise Mistake(f"{folders[0]} and {folders[1]} have no common seed and score; evaluate both on the same seeds")
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
    groups = grouped(folders)
    print(f"{reports[0]['env']}, {reports[0]['split']} levels; intervals over seeds and episodes\n")
    found: dict[str, Any] = {}
    for group, members in groups.items():
        played = [episodes(folder)[0] for folder in members]
        common = set.intersection(*({name for each in one.values() for name in each} for one in played))
        names = [name for name in next(iter(played[0].values())) if name in common]
        values = {name: [[each[name] for each in one.values()] for one in played] for name in names}
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


def grouped(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Folders by name without seed."""
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(group_name(folder.name), []).append(folder)
    return groups


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
    reports = []
    for folder in folders:
        try:
            reports.append(json.loads((folder / "report.json").read_text()))
        except (OSError, ValueError) as error:
            raise Mistake(f"{folder}/report.json cannot be read ({error}); evaluate again") from error
    for field in ("env", "split"):
        for made, folder in zip(reports, folders):
            if made[field] != reports[0][field]:
                raise Mistake(
                    f"they have different levels: {field} is {reports[0][field]} in {folders[0]}, but {made[field]} in "
                    f"{folder}; run embodia eval with the same --env and --split for all"
                )
    return reports


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
    played: Played = {}
    levels: dict[int, str] = {}
    for number, line in enumerate((folder / "episodes.jsonl").read_text().splitlines(), 1):
        try:
            each: dict[str, Any] = json.loads(line)
            if each["policy"] == "agent":
                scores = {"return": each["return"], **each["metrics"], "length": each["length"]}
                seed = int(each["seed"])
                played[seed] = {name: float(value) for name, value in scores.items()}
                levels[seed] = str(each.get("level") or unnamed(seed))
        except (ValueError, KeyError, TypeError) as error:
            raise Mistake(f"{folder}/episodes.jsonl line {number} is invalid ({error}); evaluate again") from error
    return played, levels


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
