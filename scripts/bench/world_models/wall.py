"""DINO-WM on the Wall task: plan through a door in a model of random moves; patch tokens against one global token.

Differences from the paper: the encoder is a small ResNet trained by `patch_vicreg` on the same random frames (on frames
two apart in time), or untrained (the control), instead of DINOv2. Its tokens are slow features, so that distance in the
latent space measures time. The global token is the mean of the patch tokens, whose receptive fields cover nearly the
whole image. Neither model nor objective is given the dot's position. An episode has four plans instead of as many as it
needs. `Budget` is sized for a CPU.
"""

import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from embodia.agents.references.random import Random
from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.agents.training.weights import load_weights, save_weights
from embodia.envs.control import wall
from embodia.envs.vector import make
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.self_supervision.patch_vicreg import PatchVICReg
from embodia.perception.self_supervision.slow_features import SlowFeatures
from embodia.perception.self_supervision.views import Views
from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig
from embodia.planners.models.imagination import imagine_plan
from embodia.planners.search.cem import CEM
from embodia.planners.search.gradient import GradientPlanner
from embodia.planners.search.objective import ObservedGoal
from embodia.scripts.bench.harness.options import Wall
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.world_models.kept_tokens import learn_on_kept_tokens

Array = NDArray[Any]
FRAMESKIP, MOVES, HORIZON = 5, 50, 5
TOKEN_DIM = 8  # slow features per patch
SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (wall.SIZE, wall.SIZE, 3), np.uint8)})
ACTIONS = spaces.Box(-1.0, 1.0, (2 * FRAMESKIP,), np.float32)


@dataclass(frozen=True)
class Budget:
    """Size of one seed's run. The paper plans with 300 samples, 30 elites, 10 iterations."""

    trajectories: int = 1920
    encoder_updates: int = 250
    model_updates: int = 2000
    episodes: int = 30
    samples: int = 200
    elites: int = 20
    iterations: int = 6


SMOKE = Budget(12, encoder_updates=2, model_updates=2, episodes=2, samples=4, elites=2, iterations=1)


class Case(NamedTuple):
    """An encoder and a planner."""

    encoder: str  # patches, global, random
    planner: str  # mpc, open loop, gradient
    paper: float | None
    """The paper's success rate."""

    def __str__(self) -> str:
        return f"{self.encoder}, {self.planner}"


CASES = (
    Case("patches", "mpc", 0.96),
    Case("patches", "open loop", 0.74),
    Case("patches", "gradient", None),
    Case("global", "mpc", 0.58),
    Case("random", "mpc", None),
)
"""The first is DINO-WM, the others are its controls. The paper has no number for planning by gradient descent on the
Wall (PointMaze 0.22 and PushT 0.28, where MPC has 0.98 and 0.90)."""


def measure(options: Wall) -> list[Row]:
    """Success of DINO-WM and of its controls. Encoders, models and scores are kept as soon as they are done."""
    torch.set_num_threads(1)
    out, budget = options.folder(), SMOKE if options.smoke else Budget()
    works = [Work(out / f"seed{seed}", seed, budget) for seed in range(options.seeds)]
    for work in works:
        for case in CASES:
            work.score(case)
    if not (image := out / "imagined.png").exists():
        draw(works[0], image)
    dino_wm, *others = (case_row(case, works) for case in CASES)
    chance = [int(episode.metrics["success"]) for episode in play(Random(SPACE, ACTIONS), budget.episodes, True)]
    return [replace(dino_wm, controls=(*others, row("random moves", [chance], dino_wm.unit)))]


def case_row(case: Case, works: Sequence["Work"]) -> Row:
    """Success of one case in all seeds' episodes."""
    lines = [work.done()[case.encoder, case.planner] for work in works]
    episodes = [[1] * line["successes"] + [0] * (line["episodes"] - line["successes"]) for line in lines]
    minutes = sum(line["cpu_learning"] + line["cpu_playing"] for line in lines) / 60
    return row(str(case), episodes, "success", paper=case.paper, cpu_minutes=minutes)


class Work:
    """One seed: its data, encoders and models, and the cases done so far."""

    def __init__(self, folder: Path, seed: int, budget: Budget):
        self.folder, self.seed, self.budget = folder, seed, budget
        folder.mkdir(parents=True, exist_ok=True)
        made_for = folder / "budget.json"
        if made_for.exists() and json.loads(made_for.read_text()) != asdict(budget):
            raise FileExistsError(
                f"{folder} holds work of another budget; choose another folder by --out, or remove it"
            )
        made_for.write_text(json.dumps(asdict(budget)))
        self.rows = folder / "rows.jsonl"
        self.data: tuple[Tensor, Tensor] | None = None
        self.tokens: dict[str, Tensor] = {}

    def done(self) -> dict[tuple[str, str], dict[str, Any]]:
        lines = self.rows.read_text().splitlines() if self.rows.exists() else []
        return {(row["encoder"], row["planner"]): row for row in map(json.loads, lines)}

    def score(self, case: Case) -> None:
        if (case.encoder, case.planner) in self.done():
            return
        began = time.process_time()
        model = self.model(case.encoder)
        learned = time.process_time()
        episodes = play(planned(model, case.planner, self.budget), self.budget.episodes, case.planner == "mpc")
        row = {
            "encoder": case.encoder,
            "planner": case.planner,
            "successes": sum(int(episode.metrics["success"]) for episode in episodes),
            "episodes": len(episodes),
            "distance": float(np.mean([episode.metrics["distance"] for episode in episodes])),
            "cpu_learning": learned - began,
            "cpu_playing": time.process_time() - learned,
        }
        with self.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"seed {self.seed}: {row}", file=sys.stderr)

    def frames(self) -> tuple[Tensor, Tensor]:
        """Frames (M, T + 1, H, W, 3) uint8 and actions (M, T, 2 * frameskip) of the random policy."""
        if self.data is None:
            self.data = random_data(self.budget.trajectories, self.seed)
        return self.data

    def encoder(self, kind: str) -> SlowFeatures:
        """The frozen encoder; `patches` and `global` share their trained weights."""
        seed_all(self.seed)
        net = ResNet(SPACE, dim=64, width=8, tokens="grid")  # 4 x 4 patches
        if kind != "random":
            path = self.folder / "encoder.safetensors"
            if path.exists():
                load_weights(net, path)
            else:
                teach(net, self.frames()[0], self.budget.encoder_updates, self.seed)
                save_weights(net, path)
        return SlowFeatures(net, TOKEN_DIM, pooled=kind == "global")

    def model(self, kind: str) -> DINOWM:
        encoder = self.encoder(kind)
        seed_all(self.seed)
        model = DINOWM(SPACE, ACTIONS, encoder, DINOWMConfig(dim=64, depth=2, num_heads=4))
        path = self.folder / f"model-{kind}.safetensors"
        if path.exists():
            load_weights(model, path)
        else:
            pictures, actions = self.frames()
            encoder.fit({"rgb": part.transpose(0, 1)} for part in pictures[:400].split(50))
            learn(model, pictures, actions, self.budget.model_updates, self.seed)
            save_weights(model, path)
        return model.eval()


def random_data(trajectories: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frames and actions of the random policy, from random positions in the fixed layout."""
    rng = np.random.default_rng(seed)
    moves, middle = wall.random_moves(rng, trajectories, MOVES), wall.SIZE / 2
    place = np.stack([wall.draw_place(rng, middle, bool(rng.integers(2))) for _ in range(trajectories)])
    places = [place]
    for move in moves.swapaxes(0, 1):
        place = wall.advance(place, move, middle, middle)
        places.append(place)
    shown = np.stack(places[::FRAMESKIP], 1)  # (M, T + 1, 2)
    drawn = [wall.draw(part, middle, middle) for part in np.array_split(shown.reshape(-1, 2), 50)]
    pictures = torch.from_numpy(np.concatenate(drawn)).unflatten(0, shown.shape[:2])
    actions = torch.from_numpy(moves.reshape(trajectories, -1, 2 * FRAMESKIP) / wall.LONGEST).float()
    return pictures, actions


TEACHING = FitConfig(
    batch_size=96,
    learning_rate=2e-3,
    schedule="linear",
    warmup=30,
    weight_decay=0.01,
    decay_all=True,
    clip=None,
    fused=False,
    device="cpu",
)


def teach(net: ResNet, pictures: Tensor, updates: int, seed: int) -> None:
    """Train the encoder by patch-wise VICReg on frames two apart, so that its tokens change slowly."""

    def draw(rng: np.random.Generator, n: int) -> dict[str, Any]:
        i, t = rng.integers(len(pictures), size=n), rng.integers(pictures.shape[1] - 2, size=n)
        return {"obs": {"rgb": torch.stack([pictures[i, t + later] for later in range(3)])}}

    learner = PatchVICReg(net, Views(augmentation=None, gap=2))
    fit(learner, RandomBatches(draw, seed), replace(TEACHING, steps=updates, seed=seed))


def learn(model: DINOWM, pictures: Tensor, actions: Tensor, updates: int, seed: int) -> None:
    """Train the model to predict the next recorded frame."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        return rng.integers(len(pictures), size=n), rng.integers(actions.shape[1], size=n)

    share = learn_on_kept_tokens(model, pictures.transpose(0, 1), actions.transpose(0, 1), draw, updates, seed)
    print(f"model: prediction error over that of no change {share:.3f}", file=sys.stderr)


def planned(model: DINOWM, planner: str, budget: Budget) -> MPC:
    """The agent. It executes each plan to its end, as in the paper: the objective is the last step's distance to the
    goal, so an agent that planned again after each action could postpone the goal at every step."""
    # Independent random moves cover little distance: only the largest spread reaches the door.
    search: Any = CEM(ACTIONS, HORIZON, budget.samples, budget.elites, budget.iterations, 1.0, warm_start=False)
    if planner == "gradient":
        search = GradientPlanner(ACTIONS, HORIZON, iterations=100, learning_rate=0.1)
    settings = MPCSettings(device="cpu", n_action_steps=HORIZON)
    return MPC(spaces.Dict(SPACE.spaces), ACTIONS, model, search, ObservedGoal(), settings)


def play(agent: Any, episodes: int, again: bool) -> list[Any]:
    """Play test levels. An episode is four plans long, or one plan without replanning."""
    steps = 4 * HORIZON if again else HORIZON
    env: Any = make("embodia:embodia/Wall-v0", min(10, episodes), frameskip=FRAMESKIP, max_steps=steps, split="test")
    try:
        return evaluate(agent, env, range(episodes))
    finally:
        env.close()


@torch.no_grad()
def draw(work: Work, path: Path, episodes: int = 5) -> None:
    """Draw first plans: the frames they led to, above the imagined ones, shown as the recorded frames with the nearest
    tokens. The start is on the left, the goal on the right."""
    model = work.model("patches")
    agent = planned(model, "mpc", work.budget)
    env: Any = make("embodia:embodia/Wall-v0", episodes, frameskip=FRAMESKIP, split="test")
    obs, _ = env.reset(seed=list(range(episodes)))
    env.close()
    seen = {key: torch.as_tensor(value) for key, value in obs.items()}
    nothing = torch.zeros(episodes, *ACTIONS.shape)
    state = model.observe(model.initial(episodes), seen, nothing, torch.ones(episodes, dtype=torch.bool))
    assert isinstance(agent.objective, ObservedGoal)
    plan, _ = agent.planner.plan(model, state, agent.objective.given(model, seen, nothing), {})
    known = work.frames()[0][:300].flatten(0, 1)
    nearest = torch.cdist(
        imagine_plan(model, state, plan)["tokens"].flatten(2), model.encode({"rgb": known}).flatten(1)
    )
    imagined = known[nearest.argmin(-1)].numpy()  # (episodes, H, 64, 64, 3)
    place, middle, happened = obs["position"].astype(float), wall.SIZE / 2, []
    for action in plan.transpose(0, 1):
        for move in wall.LONGEST * action.unflatten(-1, (-1, 2)).transpose(0, 1).double().numpy():
            place = wall.advance(place, wall.shorten(move), middle, middle)
        happened.append(wall.draw(place, middle, middle))
    from matplotlib.figure import Figure

    shown = {"what happened": np.stack(happened, 1), "imagined": imagined}
    figure = Figure(figsize=(HORIZON + 2.6, 2 * episodes), layout="constrained")
    grid = figure.subplots(2 * episodes, HORIZON + 2, squeeze=False)
    for line, (i, (name, way)) in zip(grid, itertools.product(range(episodes), shown.items())):
        for axes, picture in zip(line, (obs["rgb"][i], *way[i], obs["goal_rgb"][i])):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    for axes, title in zip(grid[0], ("start", *(f"action {t + 1}" for t in range(HORIZON)), "goal")):
        axes.set_title(title, fontsize=9)
    figure.savefig(path, dpi=80)
