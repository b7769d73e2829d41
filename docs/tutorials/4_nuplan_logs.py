# %% [markdown]
# # nuPlan's logs
#
# nuPlan's `.db` logs and GeoPackage maps are read as they are. So that this page runs without the data set, it
# first writes two generated scenarios in nuPlan's own format. With the data set, set `LOGS` and `MAPS` to it and
# skip the next cell.

# %%
from dataclasses import replace
from pathlib import Path
from shlex import split

from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.nuplan.write import write_log, write_maps_root
from embodia.scripts.main import main


def embodia(line: str) -> None:
    """Run a command, as `embodia ...` in a shell."""
    assert main(split(line)) == 0


LOGS, MAPS = "nuplan/logs", "nuplan/maps"

# %%
pool = scenario_pool("test", 2)
scenarios = []
for number in range(2):
    scenario, minute = pool[number], 60_000_000 * number  # [us]; the times of one log must not overlap
    scenarios.append(replace(scenario, token=f"{number:016x}", time_us=scenario.time_us - scenario.time_us[0] + minute))
Path(LOGS).mkdir(parents=True, exist_ok=True)
for number, scenario in enumerate(scenarios):
    write_log(Path(LOGS, f"log-{number}.db"), [scenario])
write_maps_root(MAPS, {scenario.map.name: scenario.map for scenario in scenarios}.values())

# %% [markdown]
# What is there:

# %%
embodia(f"doctor --logs {LOGS} --maps {MAPS}")

# %% [markdown]
# A planner in nuPlan's closed loop, with nuPlan's scores and films of the worst drives:

# %%
embodia(f"eval idm --logs {LOGS} --maps {MAPS} --films 1 --out idm")

# %% [markdown]
# `embodia train ppo-driving --logs TRAIN --test-logs VAL` learns on logs and is judged on others; `--filter val14`
# and the other filters of the devkit choose scenarios; `embodia bench planners --logs ROOT` compares planners.
