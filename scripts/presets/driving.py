"""Presets of the driving environments."""

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.imitation.driver import DriverConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
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
REWARDED = SB3PPOConfig(
    n_steps=64, batch_size=1024, learning_rate=5e-4, anneal_rows=LONG.steps, ent_coef=0.003, gae_lambda=0.97
)
COSTS_SEEN = ("ego", "agents", "lanes", "route", "futures")
SCENE = EncoderConfig(dim=256, keys=SEEN.observation, sets=("agents",))


def planned(driver: str) -> Config:
    """A driving planner, which the environment calls as its expert, under nuPlan's rules on both splits."""
    options = RoadOptions(expert=driver, rules="nuplan")
    return Config(EnvConfig("embodia/DrivingTrajectory-v0", options), "expert")


def costs(driver: str, steps: int, learning_rate: float, batch_size: int = 32) -> Config:
    """A planner with a learned cost, trained on the logged drivers' drives."""
    seen = RoadOptions(observation=COSTS_SEEN, num_scenarios=440)
    learner = DriverConfig(
        planner=driver, drives=96, batch_size=batch_size, learning_rate=learning_rate, warmup=20, clip=3.0
    )
    env = EnvConfig("embodia/DrivingTrajectory-v0", seen, 16)
    return Config(env, learner, SCENE, Schedule(steps, eval_every=0, log_every=50))


DRIVING: tuple[Preset, ...] = (
    Preset("constant-velocity", "straight on at constant speed; needs no training", planned("constant-velocity")),
    Preset("log-future", "nuPlan's log future: the recorded trajectory; needs no training", planned("log-future")),
    Preset("idm", "nuPlan's IDM planner; needs no training", planned("idm")),
    Preset("pdm-closed", "PDM-Closed (Dauner et al. 2023); needs no training", planned("pdm-closed")),
    Preset(
        "bc-driving", "behaviour cloning of the logged drivers' trajectories", learned(PLANS, DRIVER, SCENE, 120_000)
    ),
    Preset("dagger-driving", "DAgger with the logged drivers as expert", learned(PLANS, ADVISED, SCENE, 120_000)),
    Preset(
        "ppo-driving",
        "PPO with manoeuvres as actions",
        Config(MOVES, REWARDED, SCENE, LONG, EvaluationConfig(during=100)),
    ),
    Preset(
        "neural-motion-planner",
        "a space-time cost volume learned by max-margin (Zeng et al. 2019)",
        costs("neural-motion-planner", 300, 4e-3),
    ),
    Preset(
        "trajectory-regression",
        "the neural motion planner's network, regressing the trajectory",
        costs("trajectory-regression", 300, 4e-3),
    ),
    Preset("sadat", "joint behaviour and trajectory planner (Sadat et al. 2019)", costs("sadat", 150, 0.07)),
    Preset("dsdnet", "deep structured energy and its marginals (Zeng et al. 2020)", costs("dsdnet", 150, 0.05)),
    Preset("mp3", "MP3's planner on occupancy and flow (Casas et al. 2021)", costs("mp3", 150, 0.07)),
)
