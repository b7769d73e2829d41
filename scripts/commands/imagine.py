"""`embodia imagine`: plot a world model's open-loop predictions beside the true observations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from embodia.agents import Agent, Row
from embodia.agents.references.random import Random
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.rows import copy, stack, to_torch
from embodia.envs import Split
from embodia.perception.encoders.observation import kind
from embodia.planners import WorldModel
from embodia.planners.trees import tree_map
from embodia.scripts.assembly import build
from embodia.scripts.assembly.config import check
from embodia.scripts.assembly.parts import names
from embodia.scripts.commands.eval import Policy, load, resolve
from embodia.scripts.mistake import Mistake, at_least_one

Array = NDArray[Any]
TILE = 12  # side of a symbol [pixels]
COLUMNS = 9  # maximum number of time steps shown


@dataclass(frozen=True)
class Args:
    """Plot observations, their prediction and the error over time (PNG), for an agent whose world model can decode."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    context: int = 5
    """Rows that the model observes before it predicts."""
    horizon: int = 15
    """Steps that the model predicts from the executed actions, without observations."""
    episodes: int = 16
    """Number of episodes to average the error over; the first one is shown."""
    own: bool = False
    """Let the agent itself act. By default actions are random, which reaches more states."""
    split: Split = "test"
    """Set of levels; train and test are disjoint."""
    out: Path | None = None
    """Output file (PNG); by default imagination.png in the run."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia imagine")
    at_least_one(context=args.context, horizon=args.horizon, episodes=args.episodes)
    config, run = resolve(args.who, named)
    if run is None:
        raise Mistake(f"{args.who.policy} has no world model; give a run of dreamer or mpc")
    path = args.out or run / "imagination.png"
    if path.exists():
        raise Mistake(f"{path} exists; choose another file with --out")
    check(config)
    env = build.worlds(config.env, args.split, min(args.episodes, 16), evaluation=True)
    agent, _ = load(args.who, config, run, env)
    model, encoded = world_model(agent)
    acting = agent if args.own else Random(env.single_observation_space, env.single_action_space)
    rows = recorded(acting, env, args.episodes, args.context + args.horizon)
    env.close()
    torch.manual_seed(0)
    truth, imagined = open_loop(model, encoded, rows, args.context)
    observed = spaces.Dict({key: agent.observation_space[key] for key in truth})
    title = f"{run.name} on {config.env.id.split('/')[-1]}: {args.context} rows observed, {args.horizon} steps imagined"
    said = draw(observed, truth, imagined, args.context, path, title)
    print("\n".join([str(path), *said]))
    return 0


def world_model(agent: Agent) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """Return the agent's model, and the function that encodes actions for it. Raises Mistake if it cannot decode."""
    model: Any = getattr(agent, "model", None)
    if not isinstance(model, WorldModel) or not hasattr(model, "decode"):
        held = f"{type(model).__name__}, which cannot decode" if isinstance(model, WorldModel) else "no world model"
        name = type(agent).__name__
        raise Mistake(f"{name} has {held}; give a run of dreamer, or of mpc with the model rssm")
    try:
        model.decode(model.initial(1))
    except TypeError as error:
        raise Mistake(str(error)) from error
    return model, getattr(agent, "from_space", lambda action: action)


def recorded(agent: Agent, env: Any, episodes: int, length: int) -> Row:
    """Record the first `length` rows (length, B, ...) of episodes. Raises Mistake if all episodes are shorter."""
    open_: dict[int, list[Row]] = {}
    whole: list[Row] = []

    def watch(world: int, seed: int, row: Row, info: dict[str, Any], frame: Callable[[], Any]) -> None:
        rows = open_.setdefault(seed, [])
        if len(rows) < length:
            rows.append(copy(row))
            if len(rows) == length:
                whole.append(stack(rows))

    evaluate(agent, env, range(episodes), watch)
    if not whole:
        raise Mistake(f"no episode has {length} rows; use a smaller --context or --horizon")
    return stack(whole, axis=1)


@torch.no_grad()
def open_loop(
    model: Any, encoded: Callable[[Tensor], Tensor], rows: Row, context: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return true and decoded observations, each (T, B, ...); `context` rows are observed, the rest imagined."""
    device = next(model.parameters()).device
    taken = to_torch({name: rows[name] for name in ("obs", "action", "first")}, device)
    actions = encoded(taken["action"])
    state, decoded = model.initial(actions.shape[1]), []
    for t in range(len(actions)):
        before = actions[t - 1] if t else torch.zeros_like(actions[0])
        if t < context:
            obs = {key: value[t] for key, value in taken["obs"].items()}
            state = model.observe(state, obs, before, taken["first"][t])
        else:
            state = model.imagine(state, before)
        decoded.append(model.decode(state))
    imagined = tree_map(lambda *leaves: torch.stack(leaves).cpu().numpy(), *decoded)
    return {key: rows["obs"][key] for key in imagined}, imagined


def draw(
    space: spaces.Dict, truth: Mapping[str, Array], imagined: Mapping[str, Array], context: int, path: Path, title: str
) -> list[str]:
    """Save the plot and return its errors as text. Images and symbols are drawn as strips, other keys as curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips = [key for key in truth if kind(space[key]) in ("image", "symbols")]
    lines = [key for key in truth if key not in strips]
    heights = [3.2] * len(strips) + [1.6] * len(lines) + [1.8]
    figure = Figure(figsize=(11, sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    parts = list(np.ravel(np.asarray(figure.subfigures(len(heights), 1, height_ratios=heights))))
    for part, key in zip(parts[: len(strips)], strips, strict=True):
        strip(part, key, space[key], truth[key][:, 0], imagined[key][:, 0], context)
    for part, key in zip(parts[len(strips) : -1], lines, strict=True):
        curves(part.subplots(), key, truth[key][:, 0], imagined[key][:, 0], context)
    said = errors(parts[-1].subplots(), space, truth, imagined, context)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return said


def strip(part: Any, key: str, space: Any, truth: Array, imagined: Array, context: int) -> None:
    """Draw three rows of images at evenly spaced time steps: truth, imagination and difference."""
    moments = np.unique(np.linspace(0, len(truth) - 1, COLUMNS).round().astype(int))
    axes = part.subplots(3, len(moments))
    for column, t in enumerate(moments):
        was, thought = picture(truth[t], space), picture(imagined[t], space)
        wrong = np.abs(was.astype(int) - thought).max(-1)
        for row, shown in enumerate((was, thought, wrong)):
            axes[row, column].imshow(shown, **({"cmap": "magma", "vmin": 0, "vmax": 255} if row == 2 else {}))
            axes[row, column].set(xticks=[], yticks=[])
        label = f"row {t + 1}" if t < context else f"+{t - context + 1}"
        axes[0, column].set_title(label, fontsize=9, color="black" if t < context else "tab:red")
    for row, name in enumerate((f"{key}: truth", "imagination", "difference")):
        axes[row, 0].set_ylabel(name, fontsize=9)


def picture(value: Array, space: Any) -> NDArray[np.uint8]:
    """Convert one observation to an image (H, W, 3) uint8."""
    if kind(space) == "image":
        return np.asarray(value, np.uint8)
    from embodia.envs.grid.draw import symbols

    return symbols(np.asarray(value, np.uint8), TILE)


def curves(axes: Any, key: str, truth: Array, imagined: Array, context: int) -> None:
    """Draw each component of a vector (or a class index) over time: truth solid, imagination dashed."""
    for i, (was, thought) in enumerate(zip(truth.reshape(len(truth), -1).T, imagined.reshape(len(truth), -1).T)):
        (line,) = axes.plot(was, label=f"{key}[{i}]" if truth.ndim > 1 else key)
        axes.plot(thought, "--", color=line.get_color())
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.axvline(context - 0.5, color="grey", lw=0.8)
    axes.set_xlim(0, len(truth) - 1)
    axes.set_ylabel("true —, imagined --", fontsize=8)
    axes.legend(fontsize=7, loc="upper left", ncols=4)


def errors(
    axes: Any, space: spaces.Dict, truth: Mapping[str, Array], imagined: Mapping[str, Array], context: int
) -> list[str]:
    """Plot the mean error over time beside that of a constant prediction (the last observed row)."""
    said = []
    for key in truth:
        error = distance(truth[key], imagined[key], space[key])
        still = distance(truth[key], np.broadcast_to(truth[key][context - 1], truth[key].shape), space[key])
        (line,) = axes.plot(error, label=f"{key}, {unit(space[key])}")
        axes.plot(range(context, len(still)), still[context:], ":", color=line.get_color(), label="constant")
        said.append(
            f"  {key}: {unit(space[key])} {error[:context].mean():.4g} while observing, {error[-1]:.4g} after "
            f"{len(error) - context} imagined steps; constant prediction {still[-1]:.4g}"
        )
    axes.axvline(context - 0.5, color="grey", lw=0.8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(
        xlim=(0, len(error) - 1), ylim=(0, None), xlabel="row (imagined right of the vertical line)", ylabel="error"
    )
    axes.legend(fontsize=7, loc="upper left", ncols=2)
    return said


def unit(space: Any) -> str:
    return "share of codes wrong" if kind(space) in ("symbols", "discrete", "tokens") else "root mean square error"


def distance(truth: Array, imagined: Array, space: Any) -> Array:
    """Mean error per row, (T,), of observations (T, B, ...)."""
    axes = tuple(range(1, truth.ndim))
    if kind(space) in ("symbols", "discrete", "tokens"):
        return (truth != imagined).mean(axes)
    scale = 255.0 if kind(space) == "image" else 1.0
    return np.sqrt(np.square((truth.astype(float) - imagined) / scale).mean(axes))
