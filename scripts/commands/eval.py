"""`embodia eval`: evaluate a trained agent, or a baseline, on seeded levels."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from embodia.agents import Agent
from embodia.agents.references.sb3_file import Algorithm, SB3FileConfig
from embodia.agents.references.untrained import Untrained
from embodia.agents.training.device import choose_device
from embodia.envs import Split
from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly import build, own, runs
from embodia.scripts.assembly.config import Config, check
from embodia.scripts.assembly.environments import EnvConfig, fitting
from embodia.scripts.assembly.kinds import AGENT, DRIVER
from embodia.scripts.assembly.parts import configured, flag, names, parts, put
from embodia.scripts.assembly.roads import Roads, number_of_scenarios
from embodia.scripts.assembly.stored import Named
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset
from embodia.scripts.report.evaluation import judge, say


@dataclass(frozen=True)
class Homes:
    """Options of homes. Options that are not given are those of the run or the task."""

    engine: Literal["embodia", "habitat-sim"] | None = None
    """Simulator: embodia, or habitat-sim if it is installed. Both run the same episodes of an episode file; generated
    episodes differ."""
    episode_file: str | None = None
    """Habitat episode file (.json.gz) to use instead of generated episodes."""
    scenes: tuple[str, ...] | None = None
    """Scene files (.glb, .obj) to use instead of generated homes."""
    up: Literal["y", "z"] | None = None
    """Axis that points up in scene files."""
    island: int | None = None
    """Island of the navmesh on which episodes are generated."""
    geodesics: Literal["detour", "exact"] | None = None
    """How distances are measured: by habitat-sim's own search (detour), or as exact shortest paths."""
    scenes_dir: str | None = None
    """Folder of the scenes that the episode file refers to."""
    skip_unreachable: bool = False
    """Skip and count episodes whose goal cannot be reached, and scenes that offer no episode."""
    detail: Literal["low", "medium", "high"] | None = None
    """Level of detail (number of triangles) of generated homes."""
    num_scenes: int | None = None
    """Number of generated homes."""

    def into(self, env: EnvConfig) -> EnvConfig:
        """Return the environment with these options. Raises Mistake if it is not a home."""
        given = {name: value for name, value in vars(self).items() if value not in (None, False)}
        if not given:
            return env
        if not isinstance(env.options, HomesOptions):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise Mistake(f"{flags}: only for homes, and {env.id} is not a home; omit it")
        if "episode_file" in given:
            given |= {"episodes": given.pop("episode_file"), "test_episodes": None}
        if "scenes" in given:
            given["test_scenes"] = None
        return replace(env, options=replace(env.options, **given))


@dataclass(frozen=True)
class Policy:
    """A policy and its environment."""

    policy: tyro.conf.Positional[str]
    """A run (its folder, its name, or the preset it was trained from); a preset that needs no training (idm); a
    non-learning baseline such as random or expert; a .zip of Stable-Baselines3 (with --algo and --env); or your own
    baseline or driving planner as module:Class. If a run uses your own classes, repeat the flags that name them:
    --agent module:Class."""
    env: str | None = None
    """Environment, by id or preset, instead of the run's. Required for non-learning baselines and .zip files."""
    algo: Algorithm | None = None
    """Of a .zip that Stable-Baselines3 wrote: the algorithm. Reading it runs code in it; use files that you trust."""
    checkpoint: str = "best"
    """Checkpoint of the run: best, last, or a step."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    device: str | None = None
    """cpu, cuda or auto; by default as the run was trained."""
    wrap: str | None = None
    """Your own wrapper as module:Wrapper: that of the run, which must be named again, or one around --env."""
    stack: int | None = None
    """Number of observations to stack; by default as the run was trained."""
    homes: Annotated[Homes, tyro.conf.arg(name="")] = Homes()
    roads: Annotated[Roads, tyro.conf.arg(name="")] = Roads()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Args:
    """Evaluate a policy, one episode per seed, beside random and the expert; write a report card with videos."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    episodes: int | None = None
    """Number of episodes; their seeds are 0, 1, ... By default 200, or all scenarios of --logs or --scenarios."""
    seeds: tuple[int, ...] | None = None
    """Seeds of the episodes; overrides --episodes."""
    split: Split = "test"
    """Set of levels; train and test are disjoint."""
    films: int = 2
    """Number of worst episodes, and of best episodes, to record as videos."""
    out: Path | None = None
    """Output folder of the report; by default a new folder in the run, or in --runs."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia eval")
    config, run = resolve(args.who, named)
    seeds = args.seeds or tuple(range(number(args.episodes, config, 200)))
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


def check_device(name: str) -> None:
    """Raise Mistake if there is no such device."""
    try:
        choose_device(name)
    except ValueError as error:
        raise Mistake(f"--device: {error}") from error


def resolve(who: Policy, named: Named | None = None) -> tuple[Config, Path | None]:
    """Return the configuration of a policy, and its run folder if it is a run. Raises Mistake."""
    if who.device:
        check_device(who.device)
    run = None
    if (config := untrained(who)) is not None:
        config = with_parts(config, named or {}, who.policy)
    else:
        run = runs.find(who.policy, who.runs)
        named = {**(named or {}), **({"wrap": who.wrap} if who.wrap and not who.env else {})}
        config = runs.config(run, named, who.env)
        config = moved(config, who.env) if who.env else config
        if who.device and hasattr(config.agent, "device"):
            config = replace(config, agent=replace(config.agent, device=who.device))
    env = who.roads.into(who.homes.into(config.env))
    if run is None or who.env:
        env = replace(env, wrap=who.wrap)
    return replace(config, env=replace(env, stack=who.stack or config.env.stack)), run


def number(episodes: int | None, config: Config, usual: int) -> int:
    """Return the number of episodes to play: as given, all scenarios of a pack or of logs, or as usual."""
    return episodes if episodes is not None else number_of_scenarios(config.env) or usual


def with_parts(config: Config, named: Named, policy: str) -> Config:
    """Return the configuration with the parts named on the command line. Raises Mistake for a flag of no part."""
    kinds = {path: kind for path, kind, _ in parts(config)}
    for path, name in named.items():
        if path not in kinds:
            raise Mistake(f"{flag(path)}: {policy} has no such part; omit it (environments have flags of their own)")
        kind = kinds[path]
        new = own.configuration(kind, name, flag(path)) if own.is_own(name) else configured(kind, name)
        config = put(config, path, new)
    return config


def untrained(who: Policy) -> Config | None:
    """Return the configuration of a policy that needs no training: a preset, a non-learning baseline in the requested
    environment, or a driving planner. None for any other policy, which must then be a run."""
    name = who.policy
    if name.endswith(".zip"):
        return idle(sb3_file(who), who)
    if who.algo is not None:
        raise Mistake(f"--algo is of a .zip that Stable-Baselines3 wrote, and {name} is none; omit it")
    found = next((each.config for each in PRESETS if each.name == name), None)
    if found is not None:
        if AGENT.name(found.agent) == "expert":
            return driving(found, who)
        if not issubclass(AGENT.made(found.agent), Untrained):
            return None
        return moved(found, who.env) if who.env else found
    if own.is_own(name):
        if not DRIVER.lacks(own.class_of(name, "POLICY")):
            planner = own.configuration(DRIVER, name, "POLICY")
            return driving(put(preset("idm"), "env.options.expert", planner), who)
        return idle(own.configuration(AGENT, name, "POLICY"), who)
    return idle(name, who) if name in AGENT.table and issubclass(AGENT.made(name), Untrained) else None


def sb3_file(who: Policy) -> SB3FileConfig:
    """The configuration of a policy of Stable-Baselines3. Raises Mistake if the file or --algo is missing."""
    if not Path(who.policy).is_file():
        raise Mistake(f"there is no file {who.policy}")
    if who.algo is None:
        raise Mistake(f"{who.policy}: name the algorithm that wrote it, such as --algo ppo")
    return SB3FileConfig(who.policy, who.algo)


def idle(agent: Any, who: Policy) -> Config:
    """Configure a non-learning baseline in the requested environment. Raises Mistake if there is no --env."""
    if who.env is None:
        raise Mistake(f"{who.policy} needs an environment: --env ID, or --env PRESET")
    return moved(Config(EnvConfig(who.env), agent), who.env)


def driving(config: Config, who: Policy) -> Config:
    """Configure a driving planner as the environment's expert. Raises Mistake if that is no driving environment."""
    there = moved(config, who.env) if who.env else config
    if not hasattr(there.env.options, "expert"):
        raise Mistake(
            f"{who.policy} needs a driving environment, not {there.env.id}; `embodia list envs` lists environments"
        )
    return put(put(there, "env.options.rules", "nuplan"), "env.options.expert", config.env.options.expert)


def moved(config: Config, env: str) -> Config:
    """Return the configuration with another environment: that of a preset, or an id."""
    if any(each.name == env for each in PRESETS):
        seen = {name: getattr(config.env, name) for name in ("stack", "stack_keys")}  # as the agent was trained
        return replace(config, env=replace(preset(env).env, **seen))
    return replace(config, env=fitting(replace(config.env, id=env)))


def load(who: Policy, config: Config, run: Path | None, env: object) -> tuple[Agent, dict[str, Any]]:
    """Build or load the agent; also return the entries about it for the report."""
    if run is None:
        return build.agent(config, env), {"policy": who.policy}
    chosen = runs.trained(run, who.checkpoint)
    facts = {"policy": str(run), "checkpoint": f"step {int(chosen.name):,}"}
    return build.trained(config, chosen, env), {"run": run, **facts}


def place(args: Args, run: Path | None, config: Config) -> Path:
    if run is not None:
        return run / f"eval-{args.split}-{args.who.checkpoint}"
    return args.who.runs / f"{Path(args.who.policy).stem}-{config.env.id.split('/')[-1]}-{args.split}"
