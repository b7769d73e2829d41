"""The scores of a drive on arrays, under nuPlan's names."""

from typing import Literal

from embodia.envs import Scores
from embodia.envs.driving.metrics.closed_loop_scores import MULTIPLIERS, WEIGHTS

Rules = Literal["learning", "nuplan"]


def declared(rules: Rules | None) -> Scores:
    """Which scores there are; higher is better in all. `score` decides.

    Where `rules` are "learning" on every split, the progress before a failure decides: nuPlan's score multiplies by
    every failure, and so is 0 for any policy that has not learnt to avoid them.
    """
    decides = "ego_progress_along_expert_route" if rules == "learning" else "score"
    return dict.fromkeys((decides, "score", "success", *MULTIPLIERS, *WEIGHTS), "higher")
