"""Offline learning: training an agent on recorded rows, and the record of these data in the run folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium import Space
from gymnasium.spaces import Dict

from embodia.agents import Agent, Data, Pieces
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Evaluate, Schedule
from embodia.agents.training.recorded import RecordedBatches
from embodia.agents.training.rows import flatten
from embodia.agents.training.scores import Better
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.data.lanes import Lanes, Part, check_workers, lane_seed
from embodia.scripts.data.recordings import Matched, Reader, Stamp, reader, stamp
from embodia.scripts.mistake import Mistake

REMEMBERED = "data.json"
"""File in the run folder with the data options, and a stamp for each data set."""


@dataclass(frozen=True)
class DataOptions:
    """Options of offline learning, in which environments are stepped for evaluation only and a step is one update."""

    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Recorded data to learn from: a folder of `embodia collect`, a Minari data set by folder or name, or a
    LeRobotDataset v3 folder. Repeat the flag to mix data sets in proportion to their number of rows."""
    data_memory: float = 1.0
    """Memory for recorded rows [GiB]. Larger data sets are read in groups of episodes."""
    data_workers: int = 0
    """Number of processes that read the data ahead, each its own part of the episodes. With torchrun, all training
    processes together; 0 reads in the training process, and with torchrun all data in each."""
    columns: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=NAME [KEY=NAME ...]")] = ()
    """Names of observations in the data, if they differ from the keys in the environment."""

    def names(self) -> dict[str, str]:
        """Return `columns` as a mapping. Raises Mistake."""
        for each in self.columns:
            if not all(each.partition("=")):
                raise Mistake(f"--columns {each}: give KEY=NAME, such as rgb=observation.images.top")
        return dict(each.split("=", 1) for each in self.columns)


@dataclass(frozen=True)
class Remembered:
    """The data that a run learns from."""

    options: DataOptions
    sets: tuple[Stamp, ...]


def asked(arguments: Sequence[str]) -> bool:
    """Return whether a command line has the flag --data."""
    return any(each == "--data" or each.startswith("--data=") for each in arguments)


def defaults(config: Config) -> Config:
    """Return a preset with the default schedule of offline learning, which counts updates."""
    schedule = replace(config.schedule, steps=2000, eval_every=500, log_every=20)
    return replace(config, schedule=schedule)


def check(agent: Agent, options: DataOptions) -> Remembered:
    """Check the data before a run folder is made: open each data set and read its first episode.

    Raises:
        Mistake: if the agent cannot learn from recorded rows, or the data are missing or do not fit.
        EpisodeError: if a file cannot be read or has other shapes.
    """
    if options.data_memory <= 0:
        raise Mistake(f"--data-memory is {options.data_memory}; it must be positive, such as 1.0 [GiB]")
    pieces, readers = wanted(agent), [reader(name) for name in options.data]
    for each in matched(readers, agent, pieces, options):
        each.rows(0)
    episodes = sum(len(each.lengths) for each in readers)
    shared = ("episodes", episodes), ("agent.batch_size", pieces.number)
    check_workers("--data-workers", options.data_workers, *shared)
    return Remembered(options, tuple(map(stamp, readers)))


def wanted(agent: Agent) -> Pieces:
    """Return the layout of batches for the agent. Raises Mistake, naming the agents that can, if it cannot learn."""
    if (pieces := agent.offline()) is not None:
        return pieces
    able = ", ".join(sorted({each.__name__ for each in kinds(Agent) if each.offline is not Agent.offline}))
    raise Mistake(f"--data: {type(agent).__name__} learns from its own actions only, not from recorded rows; "
                  f"{able} can (MPC only with a learned model)")  # fmt: skip


def kinds(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from kinds(each)


def matched(readers: Sequence[Reader], agent: Agent, pieces: Pieces, options: DataOptions) -> list[Matched]:
    """Return the data sets as rows for this agent. Raises Mistake."""
    if unknown := set(options.names()) - set(flatten(agent.observation_space.spaces)):
        there = ", ".join(agent.observation_space.spaces)
        raise Mistake(f"--columns: the environment has no observation {', '.join(sorted(unknown))}; it has {there}")
    return [
        Matched(each, agent.observation_space, agent.action_space, pieces.keys, options.names()) for each in readers
    ]


def remember(found: Remembered, run: Path) -> None:
    (run / REMEMBERED).write_text(json.dumps(asdict(found), indent=2))


def remembered(run: Path) -> Remembered | None:
    """Read the data that a run learns from; None if it learns in environments. Raises Mistake."""
    path = run / REMEMBERED
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        data, memory, columns = (found["options"][name] for name in ("data", "data_memory", "columns"))
        workers = int(found["options"].get("data_workers", 0))
        options = DataOptions(tuple(data), float(memory), workers, tuple(columns))
        return Remembered(options, tuple(Stamp(**each) for each in found["sets"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); restore it, or use another run") from error


def moved(run: Path, data: Sequence[str]) -> None:
    """Store new paths of a run's data sets, in the same order. Raises Mistake if these are other data."""
    if (found := remembered(run)) is None:
        raise Mistake(f"--data: {run} learns in environments, not from recorded data; omit it")
    if len(data) != len(found.sets):
        raise Mistake(f"--data: {run} learns from {len(found.sets)} data sets; give all of them, in the same order")
    sets = tuple(replace(each, path=str(reader(path).path.resolve())) for each, path in zip(found.sets, data))
    opened(replace(found, sets=sets), run)
    remember(replace(found, sets=sets), run)


def opened(found: Remembered, run: Path) -> list[Reader]:
    """Open the data sets of a run. Raises Mistake if one is missing or has changed."""
    readers = []
    for each in found.sets:
        if not Path(each.path).exists():
            raise Mistake(f"{each.path}: {run} learns from it, but it is missing; restore it, or give the new path "
                          "with --data")  # fmt: skip
        readers.append(reader(each.path))
        if (now := stamp(readers[-1])) != each:
            raise Mistake(f"{each.path}: {run} started with other data, {told(each)}, but this is {told(now)}; restore "
                          "them, or start a new run")  # fmt: skip
    return readers


def learn(
    agent: Agent,
    found: Remembered,
    config: Config,
    run: Path,
    logger: Logger,
    evaluate: Evaluate,
    declared: Mapping[str, Better],
    resume: bool,
) -> None:
    """Train `agent` on the run's data for `config.schedule.steps` updates.

    The first `declared` score selects the best checkpoint; for the other arguments see `fit`.
    """
    pieces, schedule = wanted(agent), config.schedule
    sets = matched(opened(found, run), agent, pieces, found.options)
    capacity = int(found.options.data_memory * 2**30 / row_bytes(sets))
    rows = sum(each.rows for each in found.sets)
    told = f"learning from {sum(each.episodes for each in found.sets):,} episodes, {rows:,} rows"
    logger.say(told if rows <= capacity else f"{told}, about {capacity:,} at a time")
    with batches(found, sets, agent, pieces, capacity, schedule.seed) as data:
        fit(
            agent,
            data,
            fit_config(schedule, pieces),
            run,
            logger=logger,
            evaluate=evaluate,
            decides=first_score(declared),
            resume=resume,
            meta={"config": {"hash": config_hash(config)}},
        )


def batches(
    found: Remembered, sets: Sequence[Matched], agent: Agent, pieces: Pieces, capacity: int, seed: int
) -> AbstractContextManager[Data]:
    """Return the batches of the run's data sets, read in this process or by workers."""
    if (workers := found.options.data_workers) == 0:
        return nullcontext(RecordedBatches(sets, pieces, capacity, seed))
    spaces = agent.observation_space, agent.action_space
    return Lanes(partial(lane, found, spaces, pieces, capacity, seed), workers, 0 if pieces.length is None else 1)


def lane(
    found: Remembered, spaces: tuple[Dict, Space[Any]], pieces: Pieces, capacity: int, seed: int, number: int
) -> RecordedBatches:
    """Open the part of the run's episodes that one worker reads."""
    lanes, columns = found.options.data_workers, found.options.names()
    parts = [Part(Matched(reader(each.path), *spaces, pieces.keys, columns), number, lanes) for each in found.sets]
    return RecordedBatches(parts, pieces, capacity // lanes, lane_seed(seed, number))


def fit_config(schedule: Schedule, pieces: Pieces) -> FitConfig:
    """Convert a run's schedule to the configuration of `fit`; steps are updates."""
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
    """Return the memory of one row [bytes]."""
    return max(sum(np.asarray(leaf)[0].nbytes for leaf in flatten(each.rows(0)).values()) for each in sets)


def first_score(declared: Mapping[str, Better]) -> str:
    """Return the main score in the form of `fit`'s `decides`: `-NAME` if lower is better."""
    name, better = next(iter(declared.items()))
    return name if better == "higher" else f"-{name}"


def facts(run: Path) -> dict[str, Any]:
    """Return the report's entries on the data; {} if the agent learned in environments."""
    found = remembered(run)
    return {} if found is None else {"learned_from": {each.path: told(each) for each in found.sets}}


def told(each: Stamp) -> str:
    return f"{each.episodes:,} episodes, {each.rows:,} rows, fingerprint {each.fingerprint}"
