"""`embodia bench`: measure speed and scores, and write them to a result file that README and docs quote."""

import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from embodia.scripts.bench.harness import options as o

BENCHES = (
    o.Train
    | o.Video
    | o.Homes
    | o.Driving
    | o.Grids
    | o.Scale
    | o.Planners
    | o.Costs
    | o.Planning
    | o.SwingUp
    | o.Mpc
    | o.Vin
    | o.Wall
    | o.Ssl
    | o.HomesProbe
    | o.Discovery
    | o.Generative
    | o.Structured
    | o.Irl
    | o.Chain
    | o.Matrix
    | o.Mapping
    | o.Ppo
    | o.Presets
)


def main(arguments: Sequence[str]) -> int:
    asked: Any = tyro.cli(BENCHES | o.Tables, args=list(arguments), prog="embodia bench", description=__doc__)
    from embodia.scripts.bench.harness import results, tables  # after --help, which needs no numpy

    if isinstance(asked, o.Tables):
        tables.rewrite(results.ROOT)
        return 0
    origin = results.provenance(asked.name, shlex.join(["embodia", "bench", *arguments]))
    rows = importlib.import_module(f"embodia.scripts.bench.{asked.module}").measure(asked)
    print(tables.text(rows))
    found = results.result(origin, rows)
    if not asked.smoke:
        print(f"results: {results.write(found, asked.results or results.folder())}", file=sys.stderr)
    if asked.json:
        print(json.dumps(found))
    return 0
