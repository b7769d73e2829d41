"""Agents: `--agent NAME`."""

from collections.abc import Callable

from embodia.agents import Agent
from embodia.agents.imitation.bc import BC
from embodia.agents.imitation.dagger import DAgger
from embodia.agents.imitation.driver import Driver
from embodia.agents.imitation.inverse.adversarial import Adversarial
from embodia.agents.imitation.inverse.map_agent import CostLoopAgent, MaxEntAgent, MaxMarginAgent
from embodia.agents.imitation.map_imitation import MapImitation
from embodia.agents.modular.frontier import Frontier
from embodia.agents.modular.objectnav import ModularObjectNav
from embodia.agents.modular.pointnav import ModularPointNav
from embodia.agents.references.expert import Expert
from embodia.agents.references.random import Random
from embodia.agents.references.sb3_file import SB3File
from embodia.agents.references.wander import Wander
from embodia.agents.reinforcement.dqn import DQN
from embodia.agents.reinforcement.dreamer import Dreamer
from embodia.agents.reinforcement.mpc import MPC
from embodia.agents.reinforcement.ppo import PPO
from embodia.agents.reinforcement.sb3.a2c import A2C
from embodia.agents.reinforcement.sb3.dqn import SB3DQN
from embodia.agents.reinforcement.sb3.ppo import SB3PPO
from embodia.agents.reinforcement.td_mpc2 import TDMPC2

AGENTS: dict[str, Callable[..., Agent]] = {
    "ppo": PPO,
    "dqn": DQN,
    "sb3-ppo": SB3PPO,
    "a2c": A2C,
    "sb3-dqn": SB3DQN,
    "bc": BC,
    "dagger": DAgger,
    "driver": Driver,
    "max-ent-irl": MaxEntAgent,
    "max-margin-planning": MaxMarginAgent,
    "cost-loop": CostLoopAgent,
    "adversarial": Adversarial,
    "map-imitation": MapImitation,
    "dreamer": Dreamer,
    "mpc": MPC,
    "td-mpc2": TDMPC2,
    "random": Random,
    "sb3-file": SB3File,
    "wander": Wander,
    "expert": Expert,
    "frontier": Frontier,
    "modular-pointnav": ModularPointNav,
    "modular-objectnav": ModularObjectNav,
}
