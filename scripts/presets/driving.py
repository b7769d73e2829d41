"""Presets of the roads."""

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.sb3.ppo import PPOConfig
from embodia.agents.training.loop import Schedule
from embodia.envs.driving.options import RoadOptions
from embodia.scripts.assembly.config import Config, EncoderConfig, EvaluationConfig, Preset, learned
from embodia.scripts.assembly.environments import EnvConfig

SEEN = RoadOptions(observation=("ego", "agents", "route"), num_scenarios=440)
PLANS = EnvConfig("embodia/DrivingTrajectory-v0", SEEN, 32)
MOVES = EnvConfig("embodia/DrivingManoeuvre-v0", SEEN, 128)
DRIVER = BCConfig(
    hidden=(256, 256),
    components=1,
    learning_starts=16_000,
    train_freq=256,
    gradient_steps=64,
    batch_size=256,
    learning_rate=1e-3,
    anneal_rows=120_000,
)
ADVISED = DAggerConfig(**vars(DRIVER), explore=False)
LONG = Schedule(4_800_000, log_every=20_000, eval_every=600_000)
REWARDED = PPOConfig(
    n_steps=64, batch_size=1024, learning_rate=5e-4, anneal_rows=LONG.steps, ent_coef=0.003, gae_lambda=0.97
)
SCENE = EncoderConfig(dim=256, keys=SEEN.observation, sets=("agents",))


def planned(driver: str) -> Config:
    """A planner, asked by the environment as its expert, under nuPlan's rules on both splits."""
    options = RoadOptions(expert=driver, rules="nuplan")
    return Config(EnvConfig("embodia/DrivingTrajectory-v0", options), "expert")


DRIVING: tuple[Preset, ...] = (
    Preset("constant-velocity", "straight on at the present speed; nothing to train", planned("constant-velocity")),
    Preset("log-future", "nuPlan's log future: the recorded rows, tracked; nothing to train", planned("log-future")),
    Preset("idm", "nuPlan's IDM planner; nothing to train", planned("idm")),
    Preset("pdm-closed", "PDM-Closed (Dauner et al. 2023); nothing to train", planned("pdm-closed")),
    Preset("bc-driving", "clone the logged drivers' trajectories", learned(PLANS, DRIVER, SCENE, 120_000)),
    Preset("dagger-driving", "DAgger towards the logged drivers", learned(PLANS, ADVISED, SCENE, 120_000)),
    Preset("ppo-driving", "PPO by manoeuvres", Config(MOVES, REWARDED, SCENE, LONG, EvaluationConfig(during=100))),
)
