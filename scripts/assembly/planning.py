"""Model, planner and objective by name: the three independent choices of an agent that plans."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from gymnasium import Space, spaces

from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.perception import Encoder
from embodia.planners import Objective, Planner, WorldModel
from embodia.planners.control.ilqr import ILQR
from embodia.planners.models.analytic_model import AnalyticModel
from embodia.planners.models.cart_pole import CartPole
from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.snapshot import SnapshotModel
from embodia.planners.search.cem import CEM
from embodia.planners.search.gradient import GradientPlanner
from embodia.planners.search.icem import ICEM
from embodia.planners.search.mcts import MCTS
from embodia.planners.search.mppi import MPPI
from embodia.planners.search.objective import ObservedGoal, Quadratic, Return
from embodia.scripts.mistake import Mistake

PLANNERS: dict[str, Any] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "gradient": GradientPlanner,
    "ilqr": ILQR,
    "mcts": MCTS,
}


@dataclass(frozen=True)
class SearchOptions:
    """What planners let one choose; None is the planner's own value, and each planner refuses what it does not have."""

    horizon: int | None = None
    """Steps of a plan."""
    samples: int | None = None
    """Candidates per iteration."""
    elites: int | None = None
    """Candidates that are kept."""
    iterations: int | None = None
    """Refits, or steps of descent."""
    init_std: float | None = None
    """First spread of the candidates, in halves of the action range."""
    min_std: float | None = None
    """Least spread, in the same unit."""
    temperature: float | None = None
    """Of MPPI's weights."""
    beta: float | None = None
    """Colour of iCEM's noise."""
    learning_rate: float | None = None
    """Of gradient descent."""
    warm_start: bool | None = None
    """Whether a plan begins from the last one."""
    simulations: int | None = None
    """Of MCTS."""
    exploration: float | None = None
    """Of MCTS."""
    seed: int | None = None
    """Of the candidates' noise."""


@dataclass(frozen=True)
class QuadraticOptions:
    """Weights on the model's features and on actions, diagonal; the default holds a pendulum upright."""

    state: tuple[float, ...] = (1.0, 1.0, 0.1)
    action: tuple[float, ...] = (0.001,)
    target: tuple[float, ...] = (1.0, 0.0, 0.0)
    final: float = 1.0
    """Weight of the last state, as a multiple of the others'."""


@dataclass(frozen=True)
class MPCConfig(MPCSettings):
    """Model predictive control: any model, any planner, any objective."""

    model: Literal["rssm", "dino-wm", "pendulum", "cart-pole", "simulator"] = "rssm"
    """What it plans in; rssm and dino-wm are learned, simulator is the environment itself, through its snapshots."""
    planner: Literal["cem", "icem", "mppi", "gradient", "ilqr", "mcts"] = "cem"
    """How it searches."""
    objective: Literal["return", "goal", "quadratic"] = "return"
    """What it wants: predicted rewards, the goal that is observed, or the least cost."""
    search: SearchOptions = field(default_factory=SearchOptions)
    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    dino_wm: DINOWMConfig = field(default_factory=DINOWMConfig)
    quadratic: QuadraticOptions = field(default_factory=QuadraticOptions)
    discount: float = 0.99
    """Of return."""
    substeps: int = 1
    """Of an analytic model: simulation steps per action."""


def mpc(
    config: MPCConfig, encoder: Encoder, observed: spaces.Dict, actions: Space[Any], simulator: Callable[[], Any]
) -> MPC:
    """The agent; `simulator` makes an environment to plan in.

    Raises Mistake for options that the planner does not have, TypeError for parts that do not fit.
    """
    if config.model == "simulator":
        model: WorldModel = SnapshotModel(simulator())
    else:
        model = world_model(config, encoder, observed, actions)
    return MPC(observed, actions, model, planner(config, actions), objective(config), config, encoder.keys)


def world_model(config: MPCConfig, encoder: Encoder, observed: spaces.Dict, actions: Space[Any]) -> WorldModel:
    read = spaces.Dict({key: observed[key] for key in encoder.keys})
    match config.model:
        case "rssm":
            return RSSM(read, actions, encoder, config.rssm)
        case "dino-wm":
            return DINOWM(read, actions, encoder, config.dino_wm)
        case "pendulum":
            return analytic(Pendulum(substeps=config.substeps), observed)
        case "cart-pole":
            return analytic(CartPole(substeps=config.substeps), observed)
    raise Mistake(f"agent.model {config.model} is none; choose rssm, dino-wm, pendulum, cart-pole or simulator")


def analytic(model: AnalyticModel, observed: spaces.Dict) -> AnalyticModel:
    """The model, if the environment shows what it observes. Raises Mistake."""
    if model.observation_key not in observed.spaces:
        raise Mistake(
            f"agent.model {type(model).__name__} observes {model.observation_key}, and the environment shows "
            f"{', '.join(observed.spaces)}; choose a learned model, such as rssm"
        )
    return model


def planner(config: MPCConfig, actions: Space[Any]) -> Planner:
    kind = PLANNERS[config.planner]
    chosen = {each.name: getattr(config.search, each.name) for each in fields(SearchOptions)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    known = {each.name for each in fields(kind)}
    if unknown := set(chosen) - known:
        raise Mistake(
            f"agent.search.{', '.join(sorted(unknown))} means nothing to {config.planner}, which has "
            f"{', '.join(sorted(known & {each.name for each in fields(SearchOptions)}))}"
        )
    if kind is MCTS:
        if not isinstance(actions, spaces.Discrete):
            raise TypeError(f"mcts chooses among discrete actions; for {actions} take cem")
        return MCTS(int(actions.n), **chosen)
    return kind(actions, **chosen)


def objective(config: MPCConfig) -> Objective | ObservedGoal:
    match config.objective:
        case "return":
            return Return(config.discount)
        case "goal":
            return ObservedGoal()
        case "quadratic":
            q = config.quadratic
            weights = torch.tensor(q.state, dtype=torch.float64).diag()
            effort = torch.tensor(q.action, dtype=torch.float64).diag()
            return Quadratic(weights, effort, q.final * weights, torch.tensor(q.target, dtype=torch.float64))
