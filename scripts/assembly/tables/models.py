"""World models: `--agent.model NAME`."""

from collections.abc import Callable

from embodia.planners import WorldModel
from embodia.planners.models.cart_pole import CartPole
from embodia.planners.models.dino_wm import DINOWM
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.models.rssm import RSSM
from embodia.planners.models.snapshot import SnapshotModel

MODELS: dict[str, Callable[..., WorldModel]] = {
    "rssm": RSSM,
    "dino-wm": DINOWM,
    "pendulum": Pendulum,
    "cart-pole": CartPole,
    "simulator": SnapshotModel,
}
