"""The whole chain in homes: an agent's own video, an encoder pretrained on it, a world model, a planner.

The agent wanders through training homes and records what it sees and does. `TimeContrastive` trains an encoder on that
video. In its frozen, centred tokens (one of 128 numbers per view) DINO-WM learns to predict, and CEM plans in it to
reach the view of a goal image in unseen homes, again after every action. The control is the same agent with an
untrained encoder: same network, video, world model, objective, planner and budget. An episode succeeds if it ends
within half a metre of where the goal image was taken, as measured by the simulator.

Such a chain can fail in three places, which are measured separately on plans whose true ends are known:
- the tokens: mean Spearman correlation of their distance to the goal with the true distance, and how often the plan
  whose true last view is nearest in tokens ends within half a metre (`true view`);
- the model: the same with the imagined view, and the prediction's error over that of no change, by steps;
- the search: an agent that plans with the true moves and the true distance.

Every job is a line of `chain.jsonl` as soon as it is done, and does not run twice.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from embodia.agents import Agent
from embodia.agents.references.wander import Wander
from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.agents.training.evaluate import after_step, evaluate
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.agents.training.weights import load_weights, save_weights
from embodia.envs import Split
from embodia.envs.homes.episodes.near_goals import near_goals
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.standardized import Standardized
from embodia.perception.self_supervision.time_contrastive import TimeContrastive
from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig
from embodia.planners.models.state import repeat
from embodia.planners.search.cem import CEM
from embodia.planners.search.objective import ObservedGoal, Return
from embodia.planners.trees import index
from embodia.scripts.bench.harness import options
from embodia.scripts.bench.harness.once import Line, minutes, once
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.world_models.chain_figure import draw
from embodia.scripts.bench.world_models.kept_tokens import learn_on_kept_tokens
from embodia.scripts.bench.world_models.true_moves import TrueMoves
from embodia.scripts.report.statistics import compare

Array = NDArray[Any]

SIZE, HFOV, SECONDS = 64, 120.0, 2.0
"""Camera [pixels, deg] and duration of an action [s]: up to 0.5 m and 20 degrees."""
REACHED = 0.5  # [m]
SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)})
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ENCODERS = ("own video", "random")
FLOORS = ("straight ahead", "wandering", "true moves")


@dataclass(frozen=True)
class Budget:
    """Size of one seed's run."""

    homes: int = 96
    """Training homes that the agent wanders through."""
    walks: int = 16
    """Walks in each training home."""
    steps: int = 16
    """Frames per walk."""
    encoder_updates: int = 300
    model_updates: int = 1500
    test_homes: int = 40
    each: int = 5
    """Test episodes in each test home."""
    moves: int = 10
    """Actions per episode."""
    horizon: int = 2
    samples: int = 32
    elites: int = 6
    iterations: int = 3
    execute: int = 1
    """Actions executed before planning again."""
    candidates: int = 64
    """Random plans per episode whose true ends are computed."""
    looked: int = 4
    """Length of those plans."""


SMOKE = Budget(2, 4, 9, 2, 2, 2, 1, 2, 2, 8, 4, 1, 1, 4, 2)


def measure(asked: options.Chain) -> list[Row]:
    """Success beside the controls, and the measures of the parts. Encoders, models and scores are kept."""
    torch.set_num_threads(1)
    out, budget = asked.folder(), SMOKE if asked.smoke else Budget()
    lines = {line["name"]: line for line in once(out / "chain.jsonl", jobs(asked.seeds, budget, out))}
    return rows(lines, asked.seeds)


def jobs(seeds: int, budget: Budget, out: Path) -> Iterator[tuple[str, Callable[[], Line]]]:
    for floor in FLOORS:
        yield floor, partial(played, partial(floor_agent, floor, budget), budget)
    for seed in range(seeds):
        chain = Chain(seed, budget, out / f"seed{seed}")
        yield f"video, seed {seed}", chain.record
        for kind in ENCODERS:
            yield f"encoder, {kind}, seed {seed}", partial(chain.teach, kind)
            yield f"model, {kind}, seed {seed}", partial(chain.learn, kind)
            yield f"decomposition, {kind}, seed {seed}", partial(chain.decompose, kind)
            yield f"plans, {kind}, seed {seed}", partial(chain.play, kind)
    yield "picture", partial(pictured, budget, out)


# The chain --------------------------------------------------------------------------------------------------------


class Chain:
    """One seed: video, encoders and models, each made once and kept in `folder`."""

    def __init__(self, seed: int, budget: Budget, folder: Path):
        self.seed, self.budget, self.folder = seed, budget, folder

    def record(self) -> Line:
        """Record the agent's own video: rows (T, N) of views, actions and starts of episodes."""
        b = self.budget
        parts = [wander(first, b, self.seed) for first in range(0, b.homes, 16)]
        rows: dict[str, Any] = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(self.folder / "video.npz", **rows)
        return {"frames": int(rows["first"].size), "homes": b.homes}

    def video(self) -> dict[str, Tensor]:
        with np.load(self.folder / "video.npz") as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}

    def teach(self, kind: str) -> Line:
        """Train the encoder, or leave it untrained, then freeze it and centre its tokens on the video."""
        seed_all(self.seed)
        net = ResNet(SPACE, dim=128, width=8)
        rows = self.video()
        logged = taught(net, rows, self.budget.encoder_updates, self.seed) if kind != "random" else {}
        encoder = Standardized(net)
        encoder.fit({"rgb": part} for part in rows["rgb"][:, :400].split(50, 1))
        save_weights(encoder, self.path("encoder", kind))
        return logged

    def encoder(self, kind: str) -> Standardized:
        encoder = Standardized(ResNet(SPACE, dim=128, width=8))
        load_weights(encoder, self.path("encoder", kind))
        return encoder.eval()

    def learn(self, kind: str) -> Line:
        """Train DINO-WM on the video's tokens."""
        encoder, rows = self.encoder(kind), self.video()
        seed_all(self.seed)
        model = new_model(encoder)
        updates = self.budget.model_updates
        pairs = partial(whole_windows, rows["first"], 2)
        share = learn_on_kept_tokens(model, rows["rgb"], rows["action"], pairs, updates, self.seed, "bfloat16")
        save_weights(model, self.path("model", kind))
        return {"of_no_change": round(share, 3)}

    def model(self, kind: str) -> DINOWM:
        model = new_model(self.encoder(kind))
        load_weights(model, self.path("model", kind))
        return model.eval()

    def agent(self, kind: str, env: HomesVectorEnv) -> MPC:
        """The agent that plans in the learned model to reach the goal image."""
        model, b = self.model(kind), self.budget
        settings = MPCSettings(device="cpu", n_action_steps=b.execute)
        return MPC(seen_in(env), ACTIONS, model, search(b), ObservedGoal(all_steps=True), settings)

    def play(self, kind: str) -> Line:
        return played(partial(self.agent, kind), self.budget)

    def decompose(self, kind: str) -> Line:
        return decomposed(self.model(kind), self.budget)

    def path(self, what: str, kind: str) -> Path:
        return self.folder / f"{what}-{kind.replace(' ', '-')}.safetensors"


def new_model(encoder: Standardized) -> DINOWM:
    return DINOWM(SPACE, ACTIONS, encoder, DINOWMConfig(dim=128, depth=2, num_heads=4))


def search(budget: Budget) -> CEM:
    """CEM with a large initial spread, because independent small moves hardly turn the agent."""
    b = budget
    return CEM(ACTIONS, b.horizon, b.samples, b.elites, b.iterations, init_std=1.0, warm_start=False)


def homes_env(num_envs: int, split: Split, **options: Any) -> HomesVectorEnv:
    options = {"height": SIZE, "width": SIZE, "hfov": HFOV, "time_step": SECONDS, "detail": "low", **options}
    return HomesVectorEnv(num_envs, "ImageNav", split, "velocity", render_mode=None, **options)


def seen_in(env: HomesVectorEnv) -> spaces.Dict:
    assert isinstance(env.single_observation_space, spaces.Dict)
    return env.single_observation_space


def wander(first_home: int, budget: Budget, seed: int) -> dict[str, Array]:
    """Record rows (T, N, ...) in up to 16 homes, a few walks at a time."""
    b = budget
    homes = range(first_home, min(first_home + 16, b.homes))
    env = homes_env(len(homes) * 4, "train", sensors=("rgb",), num_scenes=b.homes, max_steps=b.steps + 1)
    agent = Wander(seen_in(env), ACTIONS, seed=1000 * seed + first_home)
    rows: dict[str, list[Array]] = {"rgb": [], "action": [], "first": []}
    for some in range(0, b.walks, 4):
        levels = [home + b.homes * (seed * b.walks + some + k) for home in homes for k in range(4)]
        obs, _ = env.reset(seed=levels)
        seen = {"first": np.ones(env.num_envs, bool), "last": np.zeros(env.num_envs, bool)}
        carry = agent.initial(env.num_envs)
        walk: dict[str, list[Array]] = {name: [] for name in rows}
        for _ in range(b.steps):
            action, carry, _ = agent.act(obs, carry, seen["first"], "train")
            for name, value in (("rgb", obs["rgb"]), ("action", action), ("first", seen["first"])):
                walk[name].append(value)
            obs, reward, terminated, truncated, _ = env.step(action)
            seen = after_step(seen, reward, terminated, truncated)
        for name, frames in walk.items():
            rows[name].append(np.stack(frames))
    env.close()
    return {name: np.concatenate(parts, 1) for name, parts in rows.items()}


def taught(net: ResNet, rows: dict[str, Tensor], updates: int, seed: int, clips: int = 16, frames: int = 8) -> Line:
    """Train the encoder by time-contrastive learning on clips of the video; returns its last logged numbers."""
    config = FitConfig(
        steps=updates,
        batch_size=clips,
        learning_rate=2e-3,
        warmup=30,
        clip=100.0,
        precision="bfloat16",
        seed=seed,
        device="cpu",
        log_every=1,
    )

    def draw(rng: np.random.Generator, n: int) -> Line:
        i, t = whole_windows(rows["first"], frames, rng, n)
        return {"obs": {"rgb": torch.stack([rows["rgb"][t + k, i] for k in range(frames)])}}

    now = fit(TimeContrastive(net, reach=2, margin=3), RandomBatches(draw, seed), config)
    net.requires_grad_(False)
    return {name: round(now.lines[-1][name], 3) for name in ("nearest_is_positive", "effective_rank")}


def whole_windows(first: Tensor, length: int, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Sample worlds and times (count,) at which windows of `length` rows begin that lie within one episode."""
    inside = torch.stack([first[k : len(first) - length + 1 + k] for k in range(1, length)])
    times, worlds = (~inside.any(0)).nonzero(as_tuple=True)
    chosen = rng.integers(len(times), size=count)
    return worlds[chosen].numpy(), times[chosen].numpy()


# The evaluation ---------------------------------------------------------------------------------------------------


def near_env(num_envs: int, budget: Budget) -> HomesVectorEnv:
    """Test homes with near goals."""
    goals = near_goals("test", range(budget.test_homes), budget.each)
    return homes_env(num_envs, "test", sensors=("rgb", "imagegoal"), episodes=goals, max_steps=budget.moves)


def played(agent: Callable[[HomesVectorEnv], Agent], budget: Budget) -> Line:
    """Play every test episode: the distance at its end, and whether that is a success."""
    count = budget.test_homes * budget.each
    env = near_env(min(20, count), budget)
    episodes = evaluate(agent(env), env, range(count))
    env.close()
    ends = [episode.metrics["distance_to_goal"] for episode in episodes]
    return {"ends": [round(end, 3) for end in ends], "reached": [int(end <= REACHED) for end in ends]}


class Always(Wander):
    """Always moves straight ahead."""

    def act(self, obs: Any, carry: Any, first: Array, mode: str) -> tuple[Array, Any, dict[str, Array]]:
        return np.tile(np.array([1.0, 0.0], np.float32), (len(first), 1)), carry, {}


def floor_agent(name: str, budget: Budget, env: HomesVectorEnv) -> Agent:
    """Agents without learning: blind ones, and one that plans with the true moves and distance."""
    seen = seen_in(env)
    if name == "true moves":
        settings = MPCSettings(device="cpu", n_action_steps=budget.execute)
        return MPC(seen, ACTIONS, TrueMoves(env), search(budget), Return(), settings)
    return Always(seen, ACTIONS) if name == "straight ahead" else Wander(seen, ACTIONS)


@torch.no_grad()
def decomposed(model: DINOWM, budget: Budget) -> Line:
    """Measure tokens and model separately, on true and imagined ends of random plans; one episode per test home."""
    b = budget
    env = near_env(b.test_homes, b)
    obs, _ = env.reset(seed=[home * b.each for home in range(b.test_homes)])
    truth = TrueMoves(env)
    state = repeat(truth.observe({}, {}, torch.zeros(0), torch.zeros(0)), b.candidates)
    n = b.test_homes * b.candidates
    actions = wandering(n, b.looked)
    start = model.encode({"rgb": torch.from_numpy(obs["rgb"])})
    goal = model.encode({"rgb": torch.from_numpy(obs["imagegoal"])})
    imagined = model.observe(
        model.initial(b.test_homes), {"rgb": torch.from_numpy(obs["rgb"])}, torch.zeros(b.test_homes, 2),
        torch.ones(b.test_homes, dtype=torch.bool),
    )  # fmt: skip
    imagined = repeat(imagined, b.candidates)
    errors = []
    for t in range(b.looked):
        state, imagined = truth.imagine(state, actions[:, t]), model.imagine(imagined, actions[:, t])
        views = torch.cat([
            model.encode({"rgb": torch.from_numpy(truth.views(index(state, part)))})
            for part in torch.arange(n).split(256)
        ])  # fmt: skip
        foreseen = model.predict(imagined)["tokens"]
        still = start.repeat_interleave(b.candidates, 0)
        errors.append(float((foreseen - views).square().mean() / (still - views).square().mean()))
    env.close()
    far = truth.distance(state).view(b.test_homes, -1).numpy()
    line: Line = {"error_over_no_change": [round(error, 3) for error in errors]}
    for name, tokens in (("true", views), ("imagined", foreseen)):
        apart = (tokens.unflatten(0, far.shape) - goal[:, None]).square().mean((2, 3)).numpy()
        line[f"rank_{name}"] = round(sum(map(spearman, apart, far)) / len(far), 3)
        chosen = far[np.arange(len(far)), apart.argmin(1)]
        line[f"{name}_view"] = round(float((chosen <= REACHED).mean()), 3)
    line["best"] = round(float((far.min(1) <= REACHED).mean()), 3)
    line["any"] = round(float((far <= REACHED).mean()), 3)
    return line


def wandering(count: int, length: int) -> Tensor:
    """Actions (count, length, 2) of the wandering agent."""
    agent = Wander(SPACE, ACTIONS, seed=7)
    carry, moves = agent.initial(count), []
    for t in range(length):
        action, carry, _ = agent.act({}, carry, np.full(count, t == 0), "eval")
        moves.append(torch.from_numpy(action))
    return torch.stack(moves, 1)


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of (n,) and (n,)."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def pictured(budget: Budget, out: Path) -> Line:
    """Draw what the agent of the first seed saw, its goals, and what it imagined."""
    chain = Chain(0, budget, out / "seed0")
    env = near_env(min(6, budget.test_homes), budget)
    path = out / "chain.png"
    levels = [home * budget.each for home in range(env.num_envs)]
    draw(chain.agent(ENCODERS[0], env), env, levels, chain.video()["rgb"], path)
    env.close()
    return {"picture": str(path)}


# The rows ---------------------------------------------------------------------------------------------------------

PARTS = {
    "rank_true": "rank correlation of token and true distance, true view",
    "true_view": "nearest true view is at the goal",
    "rank_imagined": "rank correlation, imagined view",
    "imagined_view": "nearest imagined view is at the goal",
    "any": "any plan ends at the goal",
    "best": "best plan ends at the goal",
}


def rows(lines: Mapping[str, Line], seeds: int) -> list[Row]:
    """The chain's success beside its controls, the measures of its parts, and the paired difference."""

    def of(what: str, kind: str) -> list[Line]:
        return [lines[f"{what}, {kind}, seed {seed}"] for seed in range(seeds)]

    found = []
    for kind in ENCODERS:
        spent = minutes([*of("encoder", kind), *of("model", kind), *of("plans", kind)])
        name = f"{kind} encoder"
        found.append([*ended(name, of("plans", kind), spent), *part_rows(name, of("decomposition", kind))])
    own, untrained = found
    floors = [ended(name, [lines[name]], lines[name]["cpu_minutes"]) for name in FLOORS]
    beside = itertools.zip_longest(untrained, *floors)
    controlled = [replace(one, controls=tuple(filter(None, each))) for one, each in zip(own, beside)]
    return [*controlled, difference(of("plans", ENCODERS[0]), of("plans", ENCODERS[1]))]


def part_rows(name: str, found: list[Line]) -> list[Row]:
    """The measures of tokens and model, and the prediction's error by steps."""
    errors = np.transpose([line["error_over_no_change"] for line in found])  # (steps, seeds)
    return [
        *(row(name, [[line[part]] for line in found], unit) for part, unit in PARTS.items()),
        *(row(name, each[:, None].tolist(), f"error over no change, {t}") for t, each in enumerate(errors, start=1)),
    ]


def ended(name: str, found: list[Line], cpu_minutes: float) -> list[Row]:
    """Success, and the distance to the goal at the end of the episodes."""
    units = {"reached": "success", "ends": "distance at the end [m]"}
    return [row(name, [line[key] for line in found], unit, cpu_minutes=cpu_minutes) for key, unit in units.items()]


def difference(own: list[Line], untrained: list[Line]) -> Row:
    """Difference of success, paired over episodes."""
    a, b = ([each for line in lines for each in line["reached"]] for lines in (own, untrained))
    found = compare(a, b).difference
    name = f"{ENCODERS[0]} minus {ENCODERS[1]} encoder"
    return Row(name, found.value, found.low, found.high, len(own), unit="difference of success, paired")
