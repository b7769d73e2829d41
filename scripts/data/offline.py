"""Learning from recorded rows in place of worlds: which data, what a run remembers of them, and how it learns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from embodia.agents import Agent, Pieces
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Evaluate, Schedule
from embodia.agents.training.recorded import RecordedBatches
from embodia.agents.training.resume import DECIDES
from embodia.agents.training.rows import flatten
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.data.recordings import Matched, Reader, Stamp, reader, stamp
from embodia.scripts.mistake import Mistake

REMEMBERED = "data.json"
"""In the run folder: the options, and a stamp for each set."""


@dataclass(frozen=True)
class DataOptions:
    """Recorded rows to learn from; then no world is stepped but to judge, and a step is one update."""

    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Learn from this recorded set: a folder of `embodia collect`, a Minari data set by folder or name, or a
    LeRobotDataset v3 folder. Given several times, the sets are mixed by their number of rows."""
    data_memory: float = 1.0
    """Recorded rows held in memory at a time [GiB]; of a larger set, groups of episodes are read one after another."""
    columns: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=NAME [KEY=NAME ...]")] = ()
    """What observations are called in the data, where they are not called as in the environment."""

    def names(self) -> dict[str, str]:
        """`columns` as a mapping. Raises Mistake."""
        for each in self.columns:
            if not all(each.partition("=")):
                raise Mistake(f"--columns {each}: give KEY=NAME, such as rgb=observation.images.top")
        return dict(each.split("=", 1) for each in self.columns)


@dataclass(frozen=True)
class Remembered:
    """What a run learns from."""

    options: DataOptions
    sets: tuple[Stamp, ...]


def asked(arguments: Sequence[str]) -> bool:
    """Whether a command line names recorded data."""
    return any(each == "--data" or each.startswith("--data=") for each in arguments)


def defaults(config: Config) -> Config:
    """A preset with the schedule of offline learning, which counts updates and not steps in worlds."""
    schedule = replace(config.schedule, steps=2000, eval_every=500, log_every=20)
    return replace(config, schedule=schedule)


def check(agent: Agent, options: DataOptions) -> Remembered:
    """Refuse what cannot work, before a run folder is made: each set is opened, and its first episode read.

    Raises:
        Mistake: for an agent that cannot learn from recorded rows, and data that are not there or do not fit.
        EpisodeError: for files that cannot be read or hold other shapes.
    """
    pieces, readers = wanted(agent), [reader(name) for name in options.data]
    for each in matched(readers, agent, pieces, options):
        each.rows(0)
    return Remembered(options, tuple(map(stamp, readers)))


def wanted(agent: Agent) -> Pieces:
    """How the agent learns from recorded rows. Raises Mistake where it cannot, naming the agents that can."""
    if (pieces := agent.offline()) is not None:
        return pieces
    able = ", ".join(sorted({each.__name__ for each in kinds(Agent) if each.offline is not Agent.offline}))
    raise Mistake(f"--data: {type(agent).__name__} learns from its own actions only, not from recorded rows; "
                  f"{able} can (MPC where its model learns)")  # fmt: skip


def kinds(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from kinds(each)


def matched(readers: Sequence[Reader], agent: Agent, pieces: Pieces, options: DataOptions) -> list[Matched]:
    """The sets as rows for this agent. Raises Mistake."""
    if unknown := set(options.names()) - set(flatten(agent.observation_space.spaces)):
        there = ", ".join(agent.observation_space.spaces)
        raise Mistake(f"--columns: the environment does not show {', '.join(sorted(unknown))}; it shows {there}")
    return [
        Matched(each, agent.observation_space, agent.action_space, pieces.keys, options.names()) for each in readers
    ]


def remember(found: Remembered, run: Path) -> None:
    (run / REMEMBERED).write_text(json.dumps(asdict(found), indent=2))


def remembered(run: Path) -> Remembered | None:
    """What a run learns from; None where it learns in worlds. Raises Mistake where that cannot be read."""
    path = run / REMEMBERED
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        data, memory, columns = (found["options"][name] for name in ("data", "data_memory", "columns"))
        options = DataOptions(tuple(data), float(memory), tuple(columns))
        return Remembered(options, tuple(Stamp(**each) for each in found["sets"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} cannot be read ({error}); take it from a whole run") from error


def moved(run: Path, data: Sequence[str]) -> None:
    """Remember that a run's sets lie elsewhere now, in the same order. Raises Mistake where they are others."""
    if (found := remembered(run)) is None:
        raise Mistake(f"--data: {run} learns in worlds, not from data; leave it out")
    if len(data) != len(found.sets):
        raise Mistake(f"--data: {run} learns from {len(found.sets)} sets; name as many, in the same order")
    sets = tuple(replace(each, path=str(reader(path).path.resolve())) for each, path in zip(found.sets, data))
    opened(replace(found, sets=sets), run)
    remember(replace(found, sets=sets), run)


def opened(found: Remembered, run: Path) -> list[Reader]:
    """The sets a run was begun with. Raises Mistake where one is gone or has changed."""
    readers = []
    for each in found.sets:
        if not Path(each.path).exists():
            raise Mistake(f"{each.path}: {run} learns from it, and it is not there; bring it back, or say with --data "
                          "where it lies now")  # fmt: skip
        readers.append(reader(each.path))
        if (now := stamp(readers[-1])) != each:
            raise Mistake(f"{each.path}: {run} was begun with other data, {told(each)}, and this is {told(now)}; bring "
                          "those back, or begin anew")  # fmt: skip
    return readers


def learn(
    agent: Agent, found: Remembered, config: Config, run: Path, logger: Logger, evaluate: Evaluate, resume: bool
) -> None:
    """Train `agent` on the run's data for `config.schedule.steps` updates."""
    pieces, schedule = wanted(agent), config.schedule
    sets = matched(opened(found, run), agent, pieces, found.options)
    capacity = int(found.options.data_memory * 2**30 / row_bytes(sets))
    data = RecordedBatches(sets, pieces, capacity, schedule.seed)
    told = f"learning from {sum(each.episodes for each in found.sets):,} episodes, {len(data):,} rows"
    logger.say(told if len(data) <= capacity else f"{told}, about {capacity:,} at a time")
    fit(
        agent,
        data,
        fit_config(schedule, pieces),
        run,
        logger=logger,
        evaluate=lambda: deciding_first(evaluate()),
        resume=resume,
        meta={"config": {"hash": config_hash(config)}},
    )


def fit_config(schedule: Schedule, pieces: Pieces) -> FitConfig:
    """A run's schedule as that of learning from data, whose steps are updates."""
    return FitConfig(
        steps=schedule.steps,
        batch_size=pieces.number,
        seed=schedule.seed,
        log_every=schedule.log_every,
        eval_every=schedule.eval_every,
        save_seconds=schedule.save_seconds,
        keep=schedule.keep,
    )


def row_bytes(sets: Sequence[Matched]) -> int:
    """Memory of one row [bytes]."""
    return max(sum(np.asarray(leaf)[0].nbytes for leaf in flatten(each.rows(0)).values()) for each in sets)


def deciding_first(scores: Mapping[str, float]) -> dict[str, float]:
    """The score that decides between checkpoints before the others."""
    return {**{name: scores[name] for name in DECIDES if name in scores}, **scores}


def facts(run: Path) -> dict[str, Any]:
    """What the report says of the data; nothing where the agent learned in worlds."""
    found = remembered(run)
    return {} if found is None else {"learned_from": {each.path: told(each) for each in found.sets}}


def told(each: Stamp) -> str:
    return f"{each.episodes:,} episodes, {each.rows:,} rows, fingerprint {each.fingerprint}"
