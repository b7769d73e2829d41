"""The flags of each bench. Every bench is a module with `measure(options) -> list[Row]`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Options:
    """Flags that all benches share."""

    seeds: int = 3
    """Number of independent runs. A bench that measures time repeats its measurement so many times."""
    smoke: bool = False
    """Run everything with a tiny budget, to check that it works. No result file is written."""
    json: bool = False
    """Also print the result file, as the last line of the output."""
    out: Path | None = None
    """Folder for finished parts, which the next call does not repeat. Default: runs/BENCH."""
    results: Path | None = None
    """Folder for the result file BENCH.json. Default: docs/results in a checkout, results elsewhere."""

    module: ClassVar[str]
    """Module of the bench under `embodia.scripts.bench`."""

    @property
    def bench(self) -> str:
        return self.module.rpartition(".")[2].replace("_", "-")

    @property
    def name(self) -> str:
        """Name of the result file: the bench and, if only some of its parts run, those parts."""
        return "-".join([self.bench, *getattr(self, "only", ())])

    def folder(self) -> Path:
        """The folder for finished parts; it is created if it does not exist."""
        folder = (self.out or Path("runs") / self.bench) / ("smoke" if self.smoke else "")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Timed(Options):
    seeds: int = 6
    """Number of repetitions of each measurement."""


class Train(Timed):
    """Steps per second of embodia's training loop and of plain Stable-Baselines3, with the same PPO."""

    module = "speed.train"


class Video(Timed):
    """Frames encoded per second, beside OpenCV's writer."""

    module = "speed.video"


class Ppo(Options):
    """Our PPO: steps per second beside Stable-Baselines3's, and success learned from reward alone on three seeds."""

    module = "learning.ppo"


class Homes(Timed):
    """Frames rendered per second and PointNav steps per second."""

    module = "speed.homes"


class Driving(Timed):
    """Seconds per scored scenario, and steps per second of the learning environment."""

    module = "speed.driving"


@dataclass(frozen=True)
class Grids(Timed):
    """Steps per second of 1,024 grids, beside minigrid in the same run."""

    module = "speed.grids"
    levels: int = 10_000
    """Number of levels in the pool."""
    workers: int = 2
    """Number of processes that make the pool, if it is not in the cache folder."""
    xland: bool = False
    """Also measure XLand-MiniGrid: install it and jax into an environment of their own in the bench's folder."""


@dataclass(frozen=True)
class Scale(Timed):
    """Samples per second of several processes over one. It needs as many quiet cores as processes."""

    module = "speed.scale"
    only: tuple[str, ...] = ()
    """Names of the parts to run. Default: all."""


@dataclass(frozen=True)
class Planners(Options):
    """Closed-loop scores of the driving planners on generated test scenarios."""

    module = "planning.planners"
    seeds: int = 1
    """Planners are deterministic: one run. Agents in `--trained` bring their own training seeds."""
    scenarios: int = 200
    """Number of test scenarios."""
    logs: str | None = None
    """nuPlan logs to use instead of generated scenarios: a .db file, a folder, or a split below $NUPLAN_DATA_ROOT."""
    maps: str | None = None
    """Folder of nuPlan's maps; by default $NUPLAN_MAPS_ROOT, else a folder maps beside the logs."""
    filter: tuple[str, ...] | None = None
    """Scenario types to use; val14 stands for its 14 types."""
    pack: str | None = None
    """Scenario pack to use instead of generated scenarios."""
    trained: tuple[Path, ...] = ()
    """Run folders of trained agents, which drive the same scenarios."""


@dataclass(frozen=True)
class Costs(Options):
    """Driving planners with learned costs, beside their controls, in replayed and reactive traffic."""

    module = "planning.costs"
    scenarios: int = 200
    """Number of test scenarios."""


class Planning(Timed):
    """CPU time per plan, and updates per second of world models."""

    module = "planning.planning"


@dataclass(frozen=True)
class SwingUp(Options):
    """Swing-ups of a pendulum and a cart-pole by planning on their true equations. Three minutes per seed."""

    module = "planning.swing_up"
    seeds: int = 1
    """Number of independent runs, of 50 starts each."""


@dataclass(frozen=True)
class Mpc(Timed):
    """Differentiable LQR beside the mpc package."""

    module = "planning.mpc"
    peer: bool = False
    """Install the mpc package in an environment of its own below --out, and time it on the same problems."""


@dataclass(frozen=True)
class Vin(Options):
    """Value iteration networks beside their controls, on grid worlds and on maps of homes."""

    module = "planning.vin"
    only: tuple[str, ...] = ()
    """Run the parts whose names begin with these words ("8x8", "16x16 20 %", "28x28", "homes")."""


class Wall(Options):
    """DINO-WM on the Wall task, beside its controls."""

    module = "world_models.wall"


@dataclass(frozen=True)
class Presets(Options):
    """Scores of the headline presets on held-out levels. Two hours for three seeds of each."""

    module = "learning.presets"
    only: tuple[str, ...] = ()
    """Names of the presets to run. Default: all headline presets."""


class Ssl(Options):
    """Seven self-supervised methods beside their controls, and how two of them collapse."""

    module = "self_supervision.ssl"


class HomesProbe(Options):
    """What image encoders know about unseen homes."""

    module = "self_supervision.homes_probe"


@dataclass(frozen=True)
class Discovery(Options):
    """Object discovery without labels, scored against instance masks. Hours if all parts run."""

    module = "discovery.discovery"
    only: tuple[str, ...] = ()
    """Run the parts whose names begin with these words ("cae-2shapes", "slots", "cuts-homes")."""


class Generative(Options):
    """Score models, diffusion and their neighbours against exact values and published numbers."""

    module = "generative.generative"


@dataclass(frozen=True)
class Structured(Options):
    """Structured outputs: detection, segmentation and tracking, each beside its controls."""

    module = "structured.structured"
    only: tuple[str, ...] = ()
    """Run the parts whose names begin with these words ("nms", "detector")."""


class Irl(Options):
    """Rewards and costs learned from experts, beside their controls, and the plans that follow them."""

    module = "imitation.irl"


class Chain(Options):
    """Encoder and world model learned from an agent's own video, then plans in unseen homes."""

    module = "world_models.chain"


@dataclass(frozen=True)
class Matrix(Options):
    """Combinations of encoder, world model, planner and agent on grids, in homes and on roads."""

    module = "matrix.matrix"
    seeds: int = 1
    """Number of independent runs of each combination."""


@dataclass(frozen=True)
class Mapping(Options):
    """Maps from depth, and the agents that use them, in unseen homes. About 45 CPU minutes for 200 episodes each."""

    module = "mapping.mapping"
    seeds: int = 1
    """The agents are deterministic: one run."""
    episodes: int = 200
    """Number of episodes of each agent."""


@dataclass(frozen=True)
class Tables:
    """Rewrite the tables of README.md and docs/*.md from the result files in docs/results."""
