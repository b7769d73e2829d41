"""The kinds of methods (agents, encoders, planners, ...): contract, table, and arguments of constructors.

A configuration field that holds a method is annotated with its contract, `Annotated[Any, Planner]`, or with the
contract's name if the contract must not be imported there.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embodia.agents import Agent
from embodia.perception import Encoder, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.generative import Generative
from embodia.perception.structured.detection import Detector
from embodia.perception.structured.segmentation import Segmenter
from embodia.planners import DrivingPlanner, Objective, Planner, WorldModel
from embodia.scripts.assembly.options import Method, method_of, options, plain
from embodia.scripts.assembly.tables.agents import AGENTS
from embodia.scripts.assembly.tables.detectors import DETECTORS
from embodia.scripts.assembly.tables.drivers import DRIVERS
from embodia.scripts.assembly.tables.encoders import ENCODERS, PRETRAINED
from embodia.scripts.assembly.tables.generative import GENERATIVE_MODELS
from embodia.scripts.assembly.tables.learners import LEARNERS
from embodia.scripts.assembly.tables.models import MODELS
from embodia.scripts.assembly.tables.objectives import OBJECTIVES
from embodia.scripts.assembly.tables.planners import PLANNERS
from embodia.scripts.assembly.tables.segmenters import SEGMENTERS
from embodia.scripts.mistake import Mistake, nearest


@dataclass(frozen=True)
class Kind:
    """A kind of method, with the table of its methods."""

    noun: str
    contract: type
    must: tuple[str, ...]
    """Methods that a class must define."""
    table: Mapping[str, Method]
    given: tuple[str, ...]
    """Names of arguments that a constructor can have, besides its configuration and the configuration's parts."""
    sets: tuple[str, ...] = ()
    """Attributes that an object must have."""
    shared: tuple[str, ...] = ()
    """Options with the same meaning in all methods. Changed values are kept when a method is replaced by another."""

    def options(self, method: Method, name: str = "") -> type:
        """Return the configuration class of a method."""
        return options(method, self.given, name)

    def named(self, name: str) -> Method:
        """Look up a method in the table. Raises Mistake, with the closest names, if there is none."""
        if name not in self.table:
            hint = nearest(name, self.table)
            raise Mistake(f"unknown {self.noun} {name}. {hint} Give your own class as module:Class.")
        return self.table[name]

    def method(self, config: Any) -> Method:
        """Return the method of a configuration or a name."""
        if isinstance(config, str):
            return self.named(config)
        lines = (each for each in self.table.values() if self.options(each) is type(config))
        if (found := method_of(type(config)) or next(lines, None)) is None:
            raise TypeError(f"{type(config).__name__} is not the configuration of a {self.noun} in the table")
        return found

    def made(self, config: Any) -> type:
        """Return the class that a configuration or a name builds."""
        method = plain(self.method(config))
        return method if isinstance(method, type) else typing.get_type_hints(method)["return"]

    def name(self, config: Any) -> str:
        """Return the name of a method on the command line."""
        if isinstance(config, str):
            return config
        method = self.method(config)
        return next((name for name, each in self.table.items() if each is method), type(config).__name__)

    def lacks(self, method: Method) -> list[str]:
        """Return the required methods that a class does not define."""
        theirs = (*self.contract.__mro__, object)
        own = [base for base in getattr(method, "__mro__", ()) if base not in theirs]
        return [name for name in self.must if not any(name in vars(base) for base in own)]


AGENT = Kind(
    "agent",
    Agent,
    ("act", "buffer", "update", "save", "load"),
    AGENTS,
    given=("observation_space", "action_space", "encoder", "keys", "simulator", "steps"),
    sets=("observation_space", "action_space"),
    shared=("seed", "device"),
)
ENCODER = Kind("encoder", Encoder, ("forward",), ENCODERS, given=("space", "keys"), sets=("keys", "num_tokens", "dim"))
IMAGE_ENCODER = Kind("image encoder", ImageEncoder, ("encode",), PRETRAINED, ENCODER.given, ENCODER.sets)
LEARNER = Kind("learner", SelfSupervised, ("loss",), LEARNERS, given=("encoder", "space", "views", "steps"))
GENERATIVE = Kind(
    "generative model", Generative, ("loss", "sample"), GENERATIVE_MODELS, given=("shape", "classes"), sets=("event",)
)
DETECTOR = Kind(
    "detector", Detector, ("forward", "loss"), DETECTORS, given=("space", "categories"), sets=("space", "categories")
)
SEGMENTER = Kind(
    "segmenter",
    Segmenter,
    ("forward", "loss"),
    SEGMENTERS,
    given=("space", "categories", "steps"),
    sets=("space", "categories"),
)
MODEL = Kind(
    "world model",
    WorldModel,
    ("initial", "observe", "imagine", "predict", "loss"),
    MODELS,
    given=("observation_space", "action_space", "encoder", "space", "simulator"),
)
PLANNER = Kind(
    "planner",
    Planner,
    ("plan",),
    PLANNERS,
    given=("action_space", "actions"),
    shared=("horizon", "samples", "elites", "iterations", "init_std", "min_std", "warm_start", "seed"),
)
OBJECTIVE = Kind("objective", Objective, ("__call__",), OBJECTIVES, given=())
DRIVER = Kind("driving planner", DrivingPlanner, ("initial", "plan"), DRIVERS, given=("scenario", "log"))
KINDS = (AGENT, ENCODER, IMAGE_ENCODER, LEARNER, GENERATIVE, DETECTOR, SEGMENTER, MODEL, PLANNER, OBJECTIVE, DRIVER)
