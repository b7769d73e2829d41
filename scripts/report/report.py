"""The report card of a policy: `report.json`, and `report.html` made from it."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embodia.agents.training.scores import SIGN, Better
from embodia.scripts.report.chart import Curve, Whisker, curve, span, whiskers
from embodia.scripts.report.statistics import Comparison, binary, by_level, compare, interval

EMBED = 8_000_000
"""Maximum number of bytes of videos embedded in the page; further videos are linked."""
STYLE = Path(__file__).with_name("report.css")
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>$title</title><style>$style</style></head><body><main>
<header><h1>$title</h1><p class="sub">$subtitle</p><p class="verdict">$verdict</p></header>
$sections
<footer>Made by embodia $version. Confidence intervals: $confidence % (Wilson for success rates, BCa bootstrap of the
mean for other scores). One episode per seed; all policies use the same seeds.</footer>
</main><script>$script</script></body></html>
""")
SCRIPT = """
if (matchMedia("(prefers-reduced-motion: reduce)").matches)
  for (const film of document.querySelectorAll("video")) film.autoplay = false;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => parseFloat(row.cells[column].dataset.v ?? row.cells[column].textContent);
    const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * (key(a) - key(b)));
    table.tBodies[0].append(...rows);
  }));
}"""

Scores = Mapping[str, Sequence[float]]
"""Score name -> its values per episode, in the order of the seeds."""


@dataclass(frozen=True)
class Clip:
    """A video of one episode."""

    path: Path
    caption: str
    seed: int


@dataclass(frozen=True)
class Card:
    """The contents of a report. `policies["agent"]` is the evaluated policy; all policies have the same `seeds`."""

    title: str
    env: str
    split: str
    seeds: Sequence[int]
    policies: Mapping[str, Scores]
    lengths: Sequence[int]
    headline: str
    better: Mapping[str, Better] = field(default_factory=dict)  # of a score that is not named, higher is better
    levels: Sequence[str] = ()  # name of each seed's level; empty if the environment names none
    met: int | None = None  # how many of the distinct levels occurred in training; None if not known
    missing: Mapping[str, int] = field(default_factory=dict)  # score -> episodes of the agent that ended without it
    curves: Sequence[Curve] = ()
    clips: Sequence[Clip] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 0.95


def write(card: Card, folder: Path) -> dict[str, Any]:
    """Write `report.json` and `report.html` to `folder`; return the JSON.

    Raises:
        ValueError: if a score does not have one value per seed.
    """
    report = summary(card, folder)
    replace(folder / "report.json", json.dumps(report, indent=1, default=np.ndarray.tolist))
    replace(folder / "report.html", page(card, report))
    return report


def replace(path: Path, text: str) -> None:
    """Write a temporary file, then rename it, so that a reader sees either the old or the new file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def summary(card: Card, folder: Path) -> dict[str, Any]:
    """Return the card with its confidence intervals and paired comparisons, as JSON."""
    for name, scores in card.policies.items():
        for score, values in scores.items():
            if len(values) != len(card.seeds):
                raise ValueError(f"{name}: {len(values)} values of {score} for {len(card.seeds)} seeds")
    names = level_names(card)
    policies = {
        name: {score: by_level(names, values)[0] for score, values in scores.items()}
        for name, scores in card.policies.items()
    }
    successes = {
        score for score in card.policies["agent"] if all(binary(s[score]) for s in policies.values() if score in s)
    }
    return {
        "title": card.title,
        "env": card.env,
        "split": card.split,
        "headline": card.headline,
        "better": dict(card.better),
        "confidence": card.confidence,
        "scores": {
            name: {
                score: interval(values, card.confidence, score in successes)._asdict()
                for score, values in scores.items()
            }
            for name, scores in policies.items()
        },
        "against": {
            other: plainly(against(card, names, scores[card.headline]))
            for other, scores in card.policies.items()
            if other != "agent" and card.headline in scores
        },
        "missing": dict(card.missing),
        "levels": levels(card),
        "seeds": [int(seed) for seed in card.seeds],
        "episodes": episodes(card),
        "curves": [line._asdict() for line in card.curves],
        "videos": [
            {"path": relative(clip.path, folder), "caption": clip.caption, "seed": clip.seed} for clip in card.clips
        ],
        "config": dict(card.config),
        **card.provenance,
    }


def level_names(card: Card) -> list[str]:
    """Return a name for the level of each seed: the environment's, or else the seed itself."""
    named = card.levels or [""] * len(card.seeds)
    return [name or f"seed {seed}" for name, seed in zip(named, card.seeds, strict=True)]


def levels(card: Card) -> dict[str, Any]:
    """Return the number of distinct levels, a fingerprint of them in the order of the seeds, and how many of them
    training has used (None if unknown)."""
    names = level_names(card)
    return {
        "distinct": len(set(names)),
        "named": bool(card.levels) and all(card.levels),
        "met_in_training": card.met,
        "fingerprint": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
    }


def against(card: Card, names: Sequence[str], others: ArrayLike) -> Comparison:
    """Compare the agent's headline score with another policy's, level by level."""
    mine, others = by_level(names, card.policies["agent"][card.headline], others)
    return compare(mine, others, card.confidence, card.better.get(card.headline, "higher"))


def relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def plainly(found: Comparison) -> dict[str, Any]:
    return {**found._asdict(), "difference": found.difference._asdict()}


def episodes(card: Card) -> list[dict[str, Any]]:
    """Return one dict per seed: the agent's scores, and the other policies' headline score on the same level."""
    others = {f"{name} {card.headline}": scores.get(card.headline) for name, scores in card.policies.items()}
    columns = {**card.policies["agent"], **{name: values for name, values in others.items() if values is not None}}
    del columns[f"agent {card.headline}"]
    return [
        {"seed": int(seed), "length": int(length), **{name: float(values[i]) for name, values in columns.items()}}
        for i, (seed, length) in enumerate(zip(card.seeds, card.lengths))
    ]


def worst_and_best(
    values: Sequence[float], lengths: Sequence[int], n: int = 2, better: Better = "higher"
) -> list[tuple[str, int]]:
    """Select the n worst and n best episodes, as ("worst" or "best", index), each at most once.

    Among equal scores, longer episodes are worse.
    """
    order = np.lexsort((-np.asarray(lengths), SIGN[better] * np.asarray(values)))
    worst = [int(i) for i in order[:n]]
    best = [int(i) for i in order[::-1][:n] if int(i) not in worst]
    return [*(("worst", i) for i in worst), *(("best", i) for i in best)]


def verdict(report: Mapping[str, Any]) -> str:
    """State the headline score in one sentence, and whether the agent is better than random."""
    headline, scores = report["headline"], report["scores"]
    said = [f"{name} <b>{spell(each[headline])}</b>" for name, each in scores.items() if headline in each]
    name = escape(headline.replace("_", " ")).capitalize()
    text = f"{name}{lower(report, headline)} over {len(report['seeds'])} episodes: {', '.join(said)}."
    text += f" {escape(of_levels(report))}{trained_on(report)}"
    if "random" in report["against"]:
        mine, random = scores["agent"][headline], scores["random"][headline]
        p = report["against"]["random"]["p_value"]
        ahead = SIGN[report["better"].get(headline, "higher")] * report["against"]["random"]["difference"]["value"] > 0
        if ahead and (mine["low"] > random["high"] or mine["high"] < random["low"]):
            text += f" The agent is better than random: the intervals do not overlap (paired test {chance(p)})."
        elif ahead and p < 0.05:
            text += f" The intervals overlap, but in pairs the agent is better than random (paired test {chance(p)})."
        else:
            text += f" There is no evidence that the agent is better than random (paired test {chance(p)})."
    return text


def of_levels(report: Mapping[str, Any]) -> str:
    """Return a sentence: how many distinct levels were played, and whether they were held out from training."""
    found = report.get("levels")
    if found is None:  # a report of a version without names of levels
        return ""
    number, met = found["distinct"], found["met_in_training"]
    count = f"{number} distinct level{'s' * (number != 1)}"
    if number < len(report["seeds"]):
        count += f" in {len(report['seeds'])} episodes (repeats of a level count once)"
    if not found["named"]:
        return f"{count}, counted by seed, because the environment does not name its levels."
    if met is None:
        return f"{count}."
    if met == 0:
        return f"{count}, held out: none of them occurred in training."
    if met < number:
        return f"{count}; {met} of them occurred in training, {number - met} did not."
    return f"{count}, not held out: {'it' if number == 1 else 'all of them'} occurred in training."


def trained_on(report: Mapping[str, Any]) -> str:
    """Return a sentence: whether training plays a new level in every episode, if the environment lets one choose."""
    options = report["config"].get("env", {}).get("options")
    if not isinstance(options, Mapping) or "levels" not in options:
        return ""
    levels = options["levels"]
    played = "a new level in every episode" if levels is None else f"{levels:,} levels again and again"
    return f" Training plays {played}."


def without(report: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each score that has no average because some episodes lack it."""
    total = len(report["seeds"])
    return [
        f"{name}: {count} of {total} episodes ended without it, so no average is given"
        for name, count in report.get("missing", {}).items()
    ]


def lower(report: Mapping[str, Any], score: str) -> str:
    """Return the remark beside the name of a score for which lower is better."""
    return " (lower is better)" if report["better"].get(score) == "lower" else ""


def spell(each: Mapping[str, float]) -> str:
    return span(each["value"], each["low"], each["high"])


def chance(p: float) -> str:
    """Format a p-value; smaller ones than 0.0001 are not meaningful."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def page(card: Card, report: Mapping[str, Any]) -> str:
    """Return the HTML page, which needs no other file, font or script."""
    sections = [
        section("Scores", score_charts(report) + "".join(f"<p>{escape(line)}</p>" for line in without(report))),
        section("Training", f'<div class="curves">{"".join(curve(line) for line in card.curves)}</div>', card.curves),
        section("Videos of episodes", f'<div class="clips">{films(card)}</div>', card.clips),
        section("All episodes", table(report["episodes"])),
        section("Provenance", facts(card.provenance)),
        section("Configuration", f"<pre>{escape(json.dumps(report['config'], indent=2))}</pre>", card.config),
    ]
    subtitle = f"{report['env']}, {report['split']} levels, {len(report['seeds'])} seeds"
    return PAGE.substitute(
        title=escape(card.title),
        subtitle=escape(subtitle),
        verdict=verdict(report),
        sections="\n".join(filter(None, sections)),
        style=STYLE.read_text(),
        script=SCRIPT,
        confidence=f"{100 * card.confidence:g}",
        version=escape(str(card.provenance.get("versions", {}).get("embodia", ""))),
    )


def section(title: str, body: str, contents: object = True) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if contents else ""


def score_charts(report: Mapping[str, Any]) -> str:
    """Return one chart per score of the agent, with all policies that have the score."""
    charts = []
    for score in report["scores"]["agent"]:
        rows = [
            Whisker(name, each[score]["value"], each[score]["low"], each[score]["high"])
            for name, each in report["scores"].items()
            if score in each
        ]
        charts.append(f"<div><h3>{escape(score.replace('_', ' '))}{lower(report, score)}</h3>{whiskers(rows)}</div>")
    return f'<div class="scores">{"".join(charts)}</div>'


def films(card: Card) -> str:
    """Return the videos as HTML, embedded up to EMBED bytes."""
    room, parts = EMBED, []
    for clip in card.clips:
        size = clip.path.stat().st_size
        if size <= room:
            room -= size
            source = f"data:video/mp4;base64,{base64.b64encode(clip.path.read_bytes()).decode()}"
        else:
            source = escape(f"videos/{clip.path.name}")
        parts.append(
            f'<figure><video controls autoplay muted loop playsinline preload="metadata" src="{source}"></video>'
            f"<figcaption>{escape(clip.caption)}</figcaption></figure>"
        )
    return "".join(parts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with one row per episode; a click on a column head sorts it."""
    names = list(rows[0])
    head = "".join(f'<th scope="col"><button>{escape(name.replace("_", " "))}</button></th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f'<td data-v="{row[name]:.9g}">{cell(row[name])}</td>' for name in names) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def facts(provenance: Mapping[str, Any]) -> str:
    """Return names and values as HTML; a nested dict becomes one line."""
    lines = []
    for name, value in provenance.items():
        text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else str(value)
        lines.append(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>")
    return f"<dl>{''.join(lines)}</dl>"
