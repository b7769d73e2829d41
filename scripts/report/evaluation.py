"""Evaluation of an agent beside random and the expert: episodes, videos and report card."""

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from embodia.agents import Agent, Row
from embodia.agents.training.device import choose_device
from embodia.agents.training.evaluate import Episode, Watch, evaluate
from embodia.agents.training.levels import num_met
from embodia.agents.training.scores import SUCCESS, Better, Label, deciding, declared_scores, in_words, score_labels
from embodia.agents.training.versions import versions
from embodia.envs import NoExpert, Split
from embodia.scripts.assembly import build
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.assembly.kinds import AGENT
from embodia.scripts.assembly.provenance import config_hash, cpu_minutes, hardware, plain
from embodia.scripts.report import report
from embodia.scripts.report.chart import Curve
from embodia.scripts.report.overlay import Caption, draw, words
from embodia.scripts.report.progress import Progress, over
from embodia.scripts.report.report import Card, Clip
from embodia.scripts.report.statistics import wilson
from embodia.scripts.report.video import Video

LEVELS = "levels.npy"
"""File in a run folder with the digests of its training levels."""
CURVES = ("eval/", "episode/return", "loss", "accuracy", "entropy")


class Ticker:
    """A `Watch` that prints the number of finished episodes and the remaining time, at most every two seconds."""

    def __init__(self, what: str, total: int):
        self.progress = Progress(what, total, "episodes")

    def __call__(self, world: int, seed: int, row: Row, info: dict[str, Any], frame: Callable[[], Any]) -> None:
        if row["last"]:
            self.progress.advance()


class Film:
    """A `Watch` of one environment that draws each row with its caption and writes one video per episode."""

    def __init__(self, folder: Path, name: str, env: Any, fps: int = 8):
        self.folder, self.name, self.fps = folder, name, fps
        self.actions, self.labels = action_names(env), score_labels(env)
        self.video: Video | None = None
        self.paths: list[Path] = []
        self.step, self.total = 0, 0.0
        self.beside: Any = None  # the agent's own picture of the step

    def __call__(self, world: int, seed: int, row: Row, info: dict[str, Any], frame: Callable[[], Any]) -> None:
        if row["first"]:
            self.video, self.step, self.total = Video(self.folder / f"{self.name}-seed-{seed}.mp4", self.fps), 0, 0.0
        assert self.video is not None
        self.total += float(row["reward"])
        last = bool(row["last"])
        done = "terminated" if row["terminal"] else "truncated (time limit)"
        scored = [(label_of(self.labels, name), score) for name, score in info.get("metrics", {}).items()]
        caption = Caption(
            action=f"episode over: {done}" if last else words(row["action"], self.actions),
            reward=float(row["reward"]),
            total=self.total,
            step=self.step,
            seed=seed,
            title=str(info.get("title", "")),
            scores={label.text: score for label, score in scored},
            units={label.text: label.unit for label, _ in scored},
        )
        if not last:  # extras of the last row have no meaning
            self.beside = row["extras"].get("picture")
        drawn = draw(with_picture(frame(), self.beside), caption)
        self.video.add(drawn)
        self.step += 1
        if last:
            for _ in range(self.fps):  # show the last frame for a second
                self.video.add(drawn)
            self.video.__exit__(None, None, None)
            self.paths.append(self.video.path)
            self.video = None

    def give_up(self) -> None:
        """Remove the unfinished video."""
        if self.video is not None:
            self.video.__exit__(KeyboardInterrupt, None, None)


def with_picture(frame: Any, beside: Any) -> Any:
    """Return a frame with the agent's own picture on its right, scaled to the frame's height."""
    if beside is None:
        return frame
    frame, height = np.asarray(frame), len(frame)
    width = round(beside.shape[1] * height / len(beside) / 2) * 2
    rows, columns = (np.arange(size) * full // size for size, full in zip((height, width), beside.shape))
    return np.concatenate([frame, beside[rows][:, columns]], 1)


def label_of(labels: Mapping[str, Label], score: str) -> Label:
    """Return the label of a score, made from its name if the environment declares none."""
    return labels.get(score) or Label(in_words(score))


def action_names(env: Any) -> Mapping[int, str] | None:
    """Return the names of an environment's discrete actions from its metadata, or None."""
    names = env.metadata.get("action_names")
    return None if names is None else {number: name.replace("_", " ") for number, name in enumerate(names)}


def play(
    agent: Agent,
    env: EnvConfig,
    seeds: Sequence[int],
    split: Split,
    num_envs: int = 16,
    watch: Watch | None = None,
    skipped: dict[str, str] | None = None,
) -> list[Episode]:
    """Make environments and evaluate the agent on one episode per seed; add what they skipped to `skipped`."""
    vector = build.worlds(env, split, min(num_envs, len(seeds)), evaluation=True, agent=agent)
    try:
        episodes = evaluate(agent, vector, seeds, watch)
        if skipped is not None:
            skipped |= unreachable(vector)
        return episodes
    finally:
        vector.close()


def unreachable(vector: Any) -> dict[str, str]:
    """Return the episodes that an environment skipped because their goal cannot be reached, with the reason."""
    if hasattr(vector, "unreachable"):
        return dict(vector.unreachable)
    try:
        return {name: why for each in vector.get_attr("unreachable") for name, why in each.items()}
    except AttributeError:  # an environment that skips nothing
        return {}


def references(config: Config, seeds: Sequence[int], split: Split) -> dict[str, list[Episode]]:
    """Evaluate random and, if the task has one, the expert; for a driving planner this is the logged driver."""
    found: dict[str, list[Episode]] = {}
    env = config.env
    if AGENT.name(config.agent) == "expert" and hasattr(env.options, "expert"):
        env = replace(env, options=replace(env.options, expert="log"))
    for name in ("random", "expert"):
        vector = build.worlds(env, split, min(config.evaluation.num_envs, len(seeds)), evaluation=True)
        try:
            found[name] = evaluate(build.reference(name, vector), vector, seeds, Ticker(name, len(seeds)))
        except NoExpert as error:
            print(f"no expert: {error}", file=sys.stderr)
        except AttributeError as error:
            if "expert_action" not in str(error):
                raise
            print(f"no expert to compare with: {env.id} has no method expert_action()", file=sys.stderr)
        finally:
            vector.close()
    return found


def scores(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """Return the values of each score per episode: the task's scores, and the return.

    An episode without `success` counts as a failure. Any other score that some episodes lack has no average, so it is
    omitted; `missing` counts these episodes.
    """
    names = dict.fromkeys(name for episode in episodes for name in episode.metrics)
    whole = [name for name in names if name == SUCCESS or all(name in episode.metrics for episode in episodes)]
    found = {name: [episode.metrics.get(name, 0.0) for episode in episodes] for name in whole}
    return {**found, "return": [episode.return_ for episode in episodes]}


def missing(episodes: Sequence[Episode]) -> dict[str, int]:
    """Return the number of episodes that lack a score, for each score that `scores` omits."""
    names = dict.fromkeys(name for episode in episodes for name in episode.metrics if name != SUCCESS)
    counts = {name: sum(name not in episode.metrics for episode in episodes) for name in names}
    return {name: count for name, count in counts.items() if count}


def declared(env: EnvConfig, split: Split) -> tuple[dict[str, Better], dict[str, Label]]:
    """Return which direction is better in each score that an environment declares, the main one first, and labels."""
    vector = build.worlds(env, split, 1, evaluation=True)
    try:
        return declared_scores(vector), score_labels(vector)
    finally:
        vector.close()


def film(
    agent: Agent, env: EnvConfig, seeds: Sequence[int], split: Split, folder: Path, name: str, fps: int = 8
) -> tuple[list[Path], list[Episode]]:
    """Run one episode per seed and record its video; return the paths and the episodes."""
    vector = build.worlds(env, split, 1, evaluation=True, agent=agent)
    watch = Film(folder, name, vector, fps)
    drew, agent.draws = agent.draws, True
    try:
        return watch.paths, evaluate(agent, vector, seeds, watch)
    finally:
        agent.draws = drew
        watch.give_up()
        vector.close()


def draws(env: EnvConfig, split: Split) -> bool:
    """Return whether the environment can be rendered."""
    vector = build.worlds(env, split, 1, evaluation=True)
    try:
        vector.reset(seed=[0])
        return vector.render_mode == "rgb_array" and vector.render()[0] is not None
    finally:
        vector.close()


def clips(
    agent: Agent,
    config: Config,
    episodes: Sequence[Episode],
    split: Split,
    folder: Path,
    headline: str,
    better: Better,
    labels: Mapping[str, Label],
) -> list[Clip]:
    """Record videos of the worst and best episodes by the headline score."""
    films = config.evaluation.films if draws(config.env, split) else 0
    values = scores(episodes)[headline]
    chosen = report.worst_and_best(values, [episode.length for episode in episodes], films, better)
    found = []
    for kind, i in over(chosen, "recording", "videos"):
        (path,), (again,) = film(agent, config.env, [episodes[i].seed], split, folder, kind)
        named = [(label_of(labels, score), each[0]) for score, each in scores([again]).items()]
        said = ", ".join(f"{label.text} {value:.3g} {label.unit}".rstrip() for label, value in named)
        found.append(Clip(path, f"{kind}: seed {again.seed}, {again.length} steps, {said}", again.seed))
    return found


def write_episodes(path: Path, policies: Mapping[str, Sequence[Episode]], split: Split) -> None:
    """Write `episodes.jsonl`: one line per policy and seed."""
    lines = [
        {
            "policy": name,
            "split": split,
            "seed": episode.seed,
            "length": episode.length,
            "return": episode.return_,
            "metrics": episode.metrics,
            "seconds": round(episode.seconds, 4),
            "level": episode.level,
        }
        for name, episodes in policies.items()
        for episode in episodes
    ]
    report.replace(path, "".join(json.dumps(line) + "\n" for line in lines))


def curves(metrics: Path, headline: str) -> list[Curve]:
    """Read the curves for the report from `metrics.jsonl`: evaluations, returns, the headline score, losses."""
    lines = [line for line in read_lines(metrics) if "step" in line]
    wanted = (*CURVES, f"episode/{headline}")
    names = dict.fromkeys(name for line in lines for name in line if any(part in name for part in wanted))
    found = []
    for name in names:
        pairs = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        if len(pairs) > 1:
            steps, values = zip(*pairs)
            found.append(Curve(name, steps, values))
    return sorted(found, key=lambda line: not line.name.startswith("eval/"))


def with_interval(line: Curve, episodes: int, confidence: float) -> Curve:
    """Add Wilson intervals to a curve of success rates over `episodes`; other curves are unchanged."""
    if not line.name.startswith("eval/success"):
        return line
    found = [wilson(round(value * episodes), episodes, confidence) for value in line.values]
    return line._replace(low=[each.low for each in found], high=[each.high for each in found])


def provenance(config: Config, minutes: float | None = None, **more: Any) -> dict[str, Any]:
    """Return the provenance of a result: configuration, seed, date, CPU time, hardware, versions."""
    return {
        "config_hash": config_hash(config),
        "seed": config.schedule.seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
        "cpu_minutes": round(cpu_minutes() if minutes is None else minutes, 2),
        "hardware": hardware(str(choose_device(getattr(config.agent, "device", "cpu")))),
        "versions": versions() | simulator(config),
    }


def simulator(config: Config) -> dict[str, str]:
    """Return the version of habitat-sim if the environment uses it."""
    if getattr(config.env.options, "engine", None) != "habitat-sim":
        return {}
    from embodia.envs.homes.engines.habitat_sim_install import describe, import_habitat_sim

    return {"habitat_sim": describe(import_habitat_sim())}


def judge(
    agent: Agent,
    config: Config,
    folder: Path,
    title: str,
    split: Split = "test",
    seeds: Sequence[int] | None = None,
    metrics: Path | None = None,
    run: Path | None = None,
    more: Sequence[Clip] = (),
    **facts: Any,
) -> dict[str, Any]:
    """Evaluate an agent and write `episodes.jsonl`, `videos/`, `report.json` and `report.html` to `folder`.

    Args:
        agent: the agent.
        config: configuration of the run.
        folder: output folder.
        title: title of the report.
        split: split of the levels.
        seeds: seeds of the episodes; by default those of `config`.
        metrics: a `metrics.jsonl` whose curves are shown.
        run: run whose training levels are compared with those of the evaluation.
        more: further videos to show, in `folder/videos`.
        facts: further entries of the provenance.

    Returns:
        The contents of `report.json`.
    """
    seeds = list(range(config.evaluation.episodes)) if seeds is None else list(seeds)
    skipped: dict[str, str] = {}
    mine = play(agent, config.env, seeds, split, config.evaluation.num_envs, Ticker("agent", len(seeds)), skipped)
    episodes = {"agent": mine, **references(config, seeds, split)}
    write_episodes(folder / "episodes.jsonl", episodes, split)
    policies = {name: scores(each) for name, each in episodes.items()}
    better, labels = declared(config.env, split)
    labels = {name: label_of(labels, name) for name in policies["agent"]}
    headline = deciding(better, policies["agent"]) or "return"
    lines = curves(metrics, headline) if metrics else []
    recorded = clips(agent, config, mine, split, folder / "videos", headline, better.get(headline, "higher"), labels)
    card = Card(
        title=title,
        env=config.env.id,
        split=split,
        seeds=seeds,
        policies=policies,
        lengths=[episode.length for episode in mine],
        headline=headline,
        better={name: better.get(name, "higher") for name in policies["agent"]},
        labels=labels,
        levels=[episode.level for episode in mine],
        met=levels_met(run, mine),
        missing=missing(mine),
        skipped=skipped,
        curves=[with_interval(line, config.evaluation.during, config.evaluation.confidence) for line in lines],
        clips=[*recorded, *more],
        config=plain(config),
        provenance=provenance(config, **facts),
        confidence=config.evaluation.confidence,
    )
    return report.write(card, folder)


def levels_met(run: Path | None, episodes: Sequence[Episode]) -> int | None:
    """Return how many of the distinct levels occurred in the run's training, or None if that is not known."""
    names = {episode.level for episode in episodes}
    if run is None or "" in names or not (run / LEVELS).is_file():
        return None
    try:
        return num_met(names, np.load(run / LEVELS, allow_pickle=False))
    except (OSError, ValueError, EOFError, TypeError) as error:
        warnings.warn(f"{run / LEVELS} cannot be read ({error}); training's levels are not known", stacklevel=2)
        return None


def say(made: Mapping[str, Any], folder: Path) -> None:
    """Print a summary of the report on the console."""
    names = {score: score + report.lower(made, score) for score in made["scores"]["agent"]}
    width = max(map(len, names.values()))
    for score, said in names.items():
        parts = [f"{name} {report.spell(each[score])}" for name, each in made["scores"].items() if score in each]
        print(f"  {said:<{width}}  {'   '.join(parts)}")
    for line in filter(None, (report.of_levels(made), *report.without(made))):
        print(f"  {line}")
    print(f"  report  {folder / 'report.html'}")
    for clip in made["videos"]:
        print(f"  video   {folder / clip['path']}  ({clip['caption']})")
