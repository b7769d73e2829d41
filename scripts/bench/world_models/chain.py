"""The whole chain in homes: an agent's own video, an encoder that teaches itself on it, a world model, a planner.

The agent wanders through training homes and keeps what it saw and did. `TimeContrastive` teaches an encoder on that
video; in its frozen, centred tokens (one of 128 numbers for the whole view) DINO-WM learns to predict; CEM plans in it
to reach the view of a picture, in homes never seen, and again after every move. The control is the same agent whose
encoder stays as it was drawn: same network, video, world model, objective, planner and budget. Success is the
simulator's: at the end of the episode the body stands within half a metre of where the picture was taken.

A failure of such a chain has three places, which are measured apart, on plans whose true ends are known: whether the
tokens' distance to the goal tells near from far (`rank`: mean Spearman correlation with the true distance; `true view`:
how often the plan whose true last view is nearest in tokens ends within half a metre), what the model adds (`imagined
view`: the same by the imagined view, and the prediction's error over that of no change, by steps), and search (an agent
that plans in the true moves for the true distance).

Every line of `chain.jsonl` is written as soon as it is done, and is not run twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.once import once
from embodia.scripts.bench.world_models.chain_film import draw
from embodia.scripts.bench.world_models.kept_tokens import learn_on_kept_tokens
from embodia.scripts.bench.world_models.true_moves import TrueMoves
from embodia.scripts.report.statistics import compare, wilson

Array = NDArray[Any]
Line = dict[str, Any]

OUT = Path("runs/bench-chain")
SIZE, HFOV, SECONDS = 64, 120.0, 2.0
"""Camera [pixels, deg] and length of an action [s]: up to 0.5 m and 20 degrees."""
REACHED = 0.5  # [m]
SPACE = spaces.Dict({"rgb": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)})
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ENCODERS = ("own video", "random")
FLOORS = ("straight ahead", "wandering", "true moves")


@dataclass(frozen=True)
class Budget:
    """What one seed costs."""

    homes: int = 96
    """Training homes that the agent wanders through."""
    walks: int = 16
    """In each."""
    steps: int = 16
    """Frames of a walk."""
    encoder_updates: int = 300
    model_updates: int = 1500
    test_homes: int = 40
    each: int = 5
    """Test episodes in each test home."""
    moves: int = 10
    """Actions of an episode."""
    horizon: int = 2
    samples: int = 32
    elites: int = 6
    iterations: int = 3
    execute: int = 1
    """Actions done before planning again."""
    candidates: int = 64
    """Plans per episode whose true ends are looked at."""
    looked: int = 4
    """Moves of those plans."""


SMOKE = Budget(2, 4, 9, 2, 2, 2, 1, 2, 2, 8, 4, 1, 1, 4, 2)


def measure(seeds: int = 3, smoke: bool = False, out: Path = OUT) -> Line:
    """The table; encoders, models and scores lie in `out` as they are done."""
    torch.set_num_threads(1)
    out, budget = (out / "smoke", SMOKE) if smoke else (out, Budget())
    out.mkdir(parents=True, exist_ok=True)
    lines = {line["name"]: line for line in once(out / "chain.jsonl", jobs(seeds, budget, out))}
    return table(lines, seeds, budget)


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
        """The agent's own video: rows (T, N) of views, actions and where episodes begin."""
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
        """The encoder of that kind, frozen from here on, and centred on the video."""
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
        """DINO-WM on the video's tokens."""
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
        """Plans in what it learned for the view that it is shown."""
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
    """Wide at first: single moves drawn one by one hardly turn."""
    b = budget
    return CEM(ACTIONS, b.horizon, b.samples, b.elites, b.iterations, init_std=1.0, warm_start=False)


def homes_env(num_envs: int, split: Split, **options: Any) -> HomesVectorEnv:
    options = {"height": SIZE, "width": SIZE, "hfov": HFOV, "time_step": SECONDS, "detail": "low", **options}
    return HomesVectorEnv(num_envs, "ImageNav", split, "velocity", render_mode=None, **options)


def seen_in(env: HomesVectorEnv) -> spaces.Dict:
    assert isinstance(env.single_observation_space, spaces.Dict)
    return env.single_observation_space


def wander(first_home: int, budget: Budget, seed: int) -> dict[str, Array]:
    """Rows (T, N, ...) of up to 16 homes, a few walks at a time."""
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
    """Time-contrastive learning on clips of the video."""
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
    """Worlds and times (count,) at which windows of `length` rows begin that cross no episode's border."""
    inside = torch.stack([first[k : len(first) - length + 1 + k] for k in range(1, length)])
    times, worlds = (~inside.any(0)).nonzero(as_tuple=True)
    chosen = rng.integers(len(times), size=count)
    return worlds[chosen].numpy(), times[chosen].numpy()


# The judgement ----------------------------------------------------------------------------------------------------


def near_env(num_envs: int, budget: Budget) -> HomesVectorEnv:
    """The near goals of test homes."""
    goals = near_goals("test", range(budget.test_homes), budget.each)
    return homes_env(num_envs, "test", sensors=("rgb", "imagegoal"), episodes=goals, max_steps=budget.moves)


def played(agent: Callable[[HomesVectorEnv], Agent], budget: Budget) -> Line:
    """Where the agent ends in every test episode."""
    count = budget.test_homes * budget.each
    env = near_env(min(20, count), budget)
    episodes = evaluate(agent(env), env, range(count))
    env.close()
    ends = [episode.metrics["distance_to_goal"] for episode in episodes]
    return {"ends": [round(end, 3) for end in ends], "reached": [int(end <= REACHED) for end in ends]}


class Always(Wander):
    """One action for ever."""

    def act(self, obs: Any, carry: Any, first: Array, mode: str) -> tuple[Array, Any, dict[str, Array]]:
        return np.tile(np.array([1.0, 0.0], np.float32), (len(first), 1)), carry, {}


def floor_agent(name: str, budget: Budget, env: HomesVectorEnv) -> Agent:
    """Who learns nothing: blind ones, and one that is told moves and distance."""
    seen = seen_in(env)
    if name == "true moves":
        settings = MPCSettings(device="cpu", n_action_steps=budget.execute)
        return MPC(seen, ACTIONS, TrueMoves(env), search(budget), Return(), settings)
    return Always(seen, ACTIONS) if name == "straight ahead" else Wander(seen, ACTIONS)


@torch.no_grad()
def decomposed(model: DINOWM, budget: Budget) -> Line:
    """Metric and model apart, on one plan's true and imagined ends; one episode per test home."""
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
    """(count, length, 2) actions of a wanderer."""
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
    """A picture of what the first seed's agent saw, wanted and imagined."""
    chain = Chain(0, budget, out / "seed0")
    env = near_env(min(6, budget.test_homes), budget)
    path = out / "chain.png"
    levels = [home * budget.each for home in range(env.num_envs)]
    draw(chain.agent(ENCODERS[0], env), env, levels, chain.video()["rgb"], path)
    env.close()
    return {"picture": str(path)}


# The table --------------------------------------------------------------------------------------------------------


def table(lines: dict[str, Line], seeds: int, budget: Budget) -> Line:
    """Success with Wilson intervals over all seeds' episodes, its parts, and own video against random, paired."""
    print(f"{'':<34}{'success':>9}  95 % interval   by seed             end [m]")
    rows = []
    for name in FLOORS:
        rows.append(row(name, [lines[name]]))
    for kind in ENCODERS:
        rows.append(row(f"learned model, {kind}", [lines[f"plans, {kind}, seed {seed}"] for seed in range(seeds)]))
    own, control = ([sum_of(lines, kind, seeds)] for kind in ENCODERS)
    paired = compare(own[0], control[0])
    print(f"own video - random: {paired.difference.value:+.3f} [{paired.difference.low:+.3f}, "
          f"{paired.difference.high:+.3f}], McNemar p = {paired.p_value:.2g}")  # fmt: skip
    parts = ("rank_true", "true_view", "rank_imagined", "imagined_view")
    print(f"\n{'encoder':<14}" + "".join(f"{part.replace('_', ' '):>16}" for part in parts) + "  error over no change")
    decomposition = []
    for kind in ENCODERS:
        found = [lines[f"decomposition, {kind}, seed {seed}"] for seed in range(seeds)]
        mean = {part: float(np.mean([each[part] for each in found])) for part in (*parts, "best", "any")}
        errors = np.mean([each["error_over_no_change"] for each in found], 0)
        decomposition.append({"encoder": kind, **mean, "error_over_no_change": errors.round(3).tolist()})
        spelled = " ".join(f"{error:.2f}" for error in errors)
        print(f"{kind:<14}" + "".join(f"{mean[part]:>16.3f}" for part in parts) + f"  {spelled}")
    print(f"any plan ends within {REACHED} m: {mean['any']:.3f}; the best of {budget.candidates}: {mean['best']:.3f}")
    minutes = sum(line["cpu_minutes"] for line in lines.values())
    print(f"{minutes:.1f} CPU minutes, {seeds} seed(s), {budget}")
    return {
        "rows": rows,
        "paired": paired._asdict() | {"difference": paired.difference._asdict()},
        "decomposition": decomposition,
        "budget": vars(budget),
        "cpu_minutes": minutes,
        "hardware": hardware("cpu"),
    }


def sum_of(lines: dict[str, Line], kind: str, seeds: int) -> list[int]:
    return [each for seed in range(seeds) for each in lines[f"plans, {kind}, seed {seed}"]["reached"]]


def row(name: str, found: list[Line]) -> Line:
    reached = [each for line in found for each in line["reached"]]
    ends = [end for line in found for end in line["ends"]]
    success = wilson(sum(reached), len(reached))
    by_seed = [float(np.mean(line["reached"])) for line in found]
    spelled = " ".join(f"{value:.2f}" for value in by_seed)
    print(
        f"{name:<34}{success.value:>9.3f}  [{success.low:.3f}, {success.high:.3f}]  {spelled:<18}{np.mean(ends):>8.2f}"
    )
    return {
        "agent": name,
        "success": success.value,
        "low": success.low,
        "high": success.high,
        "by_seed": by_seed,
        "mean_end": float(np.mean(ends)),
    }
