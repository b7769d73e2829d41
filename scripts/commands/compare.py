"""`embodia compare A B`: compare two evaluations, paired on their common seeds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from embodia.agents.training.scores import SIGN, Better
from embodia.scripts.assembly import runs
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.chart import span
from embodia.scripts.report.report import chance, plainly
from embodia.scripts.report.statistics import Comparison, by_level, compare


@dataclass(frozen=True)
class Args:
    """Compare every score of A and B on their common seeds, with confidence intervals and paired tests."""

    a: tyro.conf.Positional[str]
    """A run or an evaluation: a folder with episodes.jsonl, a run's name, or a preset."""
    b: tyro.conf.Positional[str]
    """The run or evaluation to compare with."""
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
    folders = [find(each, args.runs) for each in (args.a, args.b)]
    reports = same_setting(folders)
    better: dict[str, Better] = {name: way for made in reports for name, way in made.get("better", {}).items()}
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
        found[name] = compare(a, b, args.confidence, better.get(name, "higher"))
    setting = f"{reports[0]['env']}, {reports[0]['split']} levels"
    distinct = len(set(playing))
    repeats = f" ({distinct} distinct level{'s' * (distinct > 1)}; repeats count once)" if distinct < len(seeds) else ""
    print(f"A = {folders[0]}\nB = {folders[1]}\n{len(seeds)} common seeds of {setting}{repeats}, A - B:\n")
    print(table(found, played, seeds, better))
    headline = reports[0]["headline"] if reports[0]["headline"] in found else names[0]
    print(f"\n{verdict(headline, found[headline], better.get(headline, 'higher'), args.confidence)}")
    if args.json:
        scores = {name: plainly(each) for name, each in found.items()}
        sides = {"a": str(folders[0]), "b": str(folders[1])}
        print(
            json.dumps(
                {
                    **sides,
                    "seeds": len(seeds),
                    "levels": distinct,
                    "headline": headline,
                    "better": better,
                    "scores": scores,
                }
            )
        )
    return 0


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
    """Read both reports. Raises Mistake if environment or split differ, because then equal seeds are other levels."""
    reports = []
    for folder in folders:
        try:
            reports.append(json.loads((folder / "report.json").read_text()))
        except (OSError, ValueError) as error:
            raise Mistake(f"{folder}/report.json cannot be read ({error}); evaluate again") from error
    for field in ("env", "split"):
        a, b = (made[field] for made in reports)
        if a != b:
            raise Mistake(
                f"the two have different levels: {field} is {a} in {folders[0]}, but {b} in {folders[1]}; "
                "run embodia eval with the same --env and --split for both"
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
