"""What the roads let one choose."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class RoadOptions:
    """nuPlan-style driving."""

    observation: tuple[str, ...] = ("ego", "agents", "lanes", "route")
    """What is seen; bev is a raster."""
    reactive: bool | None = None
    """Whether traffic reacts to the ego (IDM) or replays the log; None: as the environment's id says."""
    rules: Literal["learning", "nuplan"] | None = None
    """nuPlan's closed loop and scores exactly, or those to learn under, faster; None: exactly on test scenarios."""
    expert: Annotated[Any, "DrivingPlanner"] = "log"
    """Whom `expert_action` asks: the logged driver, or a planner that is made for a scenario."""
    num_scenarios: int = 200
    """Scenarios to train on; generated ones are made once and kept."""
    num_test_scenarios: int = 200
    """Scenarios to test on."""
    scenarios: str | None = None
    """A scenario pack on disk in place of generated ones."""
