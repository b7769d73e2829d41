"""`embodia eval`: judge a trained agent, random or the expert on seeded levels."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from embodia.agents import Agent
from embodia.agents.references.untrained import Untrained
from embodia.envs import Split
from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly import build, own, runs
from embodia.scripts.assembly.config import Config, check
from embodia.scripts.assembly.environments import EnvConfig, fitting
from embodia.scripts.assembly.kinds import AGENT, DRIVER
from embodia.scripts.assembly.parts import names, put
from embodia.scripts.assembly.stored import Named
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset
from embodia.scripts.report.evaluation import judge, say


@dataclass(frozen=True)
class Homes:
    """Which homes, and who simulates them; what is left out stays as the run or the task has it."""

    engine: Literal["embodia", "habitat-sim"] | None = None
    """Who draws and moves: this project, or habitat-sim where it is installed. Both take the same episodes."""
    episode_file: str | None = None
    """A Habitat episode file (.json.gz) in place of generated episodes."""
    scenes: tuple[str, ...] | None = None
    """Scenes on disk (.glb, .obj) in place of generated homes."""
    scenes_dir: str | None = None
    """Where the scenes that episodes name lie."""
    detail: Literal["low", "medium", "high"] | None = None
    """How many triangles a generated home has."""
    num_scenes: int | None = None
    """Generated homes to play in."""

    def into(self, env: EnvConfig) -> EnvConfig:
        """The environment with what was given. Raises Mistake where it is no home."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            return env
        if not isinstance(env.options, HomesOptions):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise Mistake(f"{flags} means something in homes only, and {env.id} is none; leave it out")
        if "episode_file" in given:
            given["episodes"] = given.pop("episode_file")
        return replace(env, options=replace(env.options, **given))


@dataclass(frozen=True)
class Policy:
    """Who plays, and where."""

    policy: tyro.conf.Positional[str]
    """A run (its folder, its name, or the preset it was trained from); a preset without anything to train (idm); an
    agent that learns nothing, such as random or expert; or a class of your own that is one, or a planner on roads, as
    module:Class. Parts of a run that are classes of your own are named again: --agent module:Class."""
    env: str | None = None
    """Another environment than the run's, by id or preset; agents that learn nothing need one."""
    checkpoint: str = "best"
    """Of the run: best, last, or a step."""
    runs: Path = Path("runs")
    """Where run folders lie."""
    device: str | None = None
    """cpu, cuda or auto."""
    homes: Annotated[Homes, tyro.conf.arg(name="")] = Homes()


@dataclass(frozen=True)
class Args:
    """One fresh episode per seed, against random and the expert on the same seeds; a report card with films."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    episodes: int = 200
    """Seeds 0, 1, ..., unless --seeds names them."""
    seeds: tuple[int, ...] | None = None
    """These levels."""
    split: Split = "test"
    """Which levels: train and test share none."""
    films: int = 2
    """Worst and best episodes filmed, each."""
    out: Path | None = None
    """Where the report goes; by default a fresh folder in the run, or under --runs."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia eval")
    config, run = resolve(args.who, named)
    seeds = args.seeds or tuple(range(args.episodes))
    config = replace(config, evaluation=replace(config.evaluation, episodes=len(seeds), films=args.films))
    check(config)
    env = build.worlds(config.env, args.split, 1, evaluation=True)
    agent, facts = load(args.who, config, run, env)
    env.close()
    title = f"{args.who.policy} on {config.env.id.split('/')[-1]}"
    with runs.filled(args.out, place(args, run, config)) as folder:
        print(f"evaluating in {folder}", file=sys.stderr)
        made = judge(agent, config, folder, title, args.split, seeds, **facts)
    print(f"{args.who.policy}: {len(seeds)} {args.split} levels of {config.env.id}")
    say(made, folder)
    return 0


def resolve(who: Policy, named: Named | None = None) -> tuple[Config, Path | None]:
    """The configuration to play under, and the run if the policy is one. Raises Mistake."""
    run = None
    if (config := untrained(who)) is None:
        run = runs.find(who.policy, who.runs)
        config = runs.config(run, named, who.env)
        config = moved(config, who.env) if who.env else config
        if who.device and hasattr(config.agent, "device"):
            config = replace(config, agent=replace(config.agent, device=who.device))
    return replace(config, env=who.homes.into(config.env)), run


def untrained(who: Policy) -> Config | None:
    """Of a policy that needs no training: a preset's, an agent that learns nothing in the environment asked for, or a
    planner on roads. None for what must be a run."""
    name = who.policy
    found = next((each.config for each in PRESETS if each.name == name), None)
    if found is not None:
        return driving(found, who) if AGENT.name(found.agent) == "expert" else None
    if own.is_own(name):
        if not DRIVER.lacks(own.class_of(name, "POLICY")):
            planner = own.configuration(DRIVER, name, "POLICY")
            return driving(put(preset("idm"), "env.options.expert", planner), who)
        return idle(own.configuration(AGENT, name, "POLICY"), who)
    return idle(name, who) if name in AGENT.table and issubclass(AGENT.made(name), Untrained) else None


def idle(agent: Any, who: Policy) -> Config:
    """An agent that learns nothing, in the environment asked for. Raises Mistake where there is none."""
    if who.env is None:
        raise Mistake(f"{who.policy} needs an environment: --env ID, or --env PRESET")
    return moved(Config(EnvConfig(who.env), agent), who.env)


def driving(config: Config, who: Policy) -> Config:
    """A planner as the expert of its preset's roads, or of others. Raises Mistake elsewhere."""
    there = moved(config, who.env) if who.env else config
    if not hasattr(there.env.options, "expert"):
        raise Mistake(f"{who.policy} drives on roads only, not in {there.env.id}; `embodia list envs` names all")
    return put(there, "env.options.expert", config.env.options.expert)


def moved(config: Config, env: str) -> Config:
    """The configuration in another environment: a preset's, or an id with the options it has."""
    if any(each.name == env for each in PRESETS):
        return replace(config, env=preset(env).env)
    return replace(config, env=fitting(replace(config.env, id=env)))


def load(who: Policy, config: Config, run: Path | None, env: object) -> tuple[Agent, dict[str, Any]]:
    """The agent, and what the report should say of it."""
    if run is None:
        return build.agent(config, env), {"policy": who.policy}
    chosen = runs.weights(run, who.checkpoint)
    facts = {"policy": str(run), "checkpoint": f"step {int(chosen.name):,}"}
    return build.trained(config, chosen, env), {"run": run, **facts}


def place(args: Args, run: Path | None, config: Config) -> Path:
    if run is not None:
        return run / f"eval-{args.split}-{args.who.checkpoint}"
    return args.who.runs / f"{args.who.policy}-{config.env.id.split('/')[-1]}-{args.split}"
