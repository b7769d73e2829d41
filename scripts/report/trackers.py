"""Experiment trackers beside metrics.jsonl and TensorBoard: Weights & Biases and MLflow, imported when asked for."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from embodia.agents.training import distributed
from embodia.scripts.assembly.provenance import plain
from embodia.scripts.mistake import Mistake

Tracker = Literal["wandb", "mlflow"]
PROJECT = "embodia"
FILE = "trackers.json"
"""File in a run folder with the ids of the trackers' runs, so that a resumed run goes on there."""


class WandB:
    """Logs to Weights & Biases; project `embodia`, or WANDB_PROJECT. WANDB_MODE=offline keeps it on disk."""

    def __init__(self, run: Path, config: Mapping[str, Any], before: str | None):
        wandb = imported("wandb", "wandb")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            dir=str(run),
            config=dict(config),
            id=before,
            resume="allow" if before else None,
        )
        self.id = str(self.run.id)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self.run.log(dict(numbers), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """Logs to MLflow, at MLFLOW_TRACKING_URI or ./mlruns; experiment `embodia`, or MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, run: Path, config: Mapping[str, Any], before: str | None):
        mlflow = imported("mlflow", "mlflow")
        self.client = mlflow.MlflowClient()
        if before is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self.client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self.client.create_experiment(name)
            self.id = str(self.client.create_run(experiment, run_name=run.name).info.run_id)
            for key, value in flat(config):
                self.client.log_param(self.id, key, str(value)[:500])
        else:
            self.id = before

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            if math.isfinite(value):
                self.client.log_metric(self.id, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.id)


KINDS: dict[str, type[WandB] | type[MLflow]] = {"wandb": WandB, "mlflow": MLflow}


def trackers(names: Sequence[Tracker], run: Path, config: Any) -> list[WandB | MLflow]:
    """Begin or go on with the trackers' runs of a run folder; those it had before are used again.

    Raises:
        Mistake: if a package is missing, or a tracker does not start.
    """
    if not distributed.leads():
        return []
    before = json.loads((run / FILE).read_text()) if (run / FILE).is_file() else {}
    found: list[WandB | MLflow] = []
    for name in dict.fromkeys([*before, *names]):
        try:
            found.append(KINDS[name](run, plain(config), before.get(name)))
        except Mistake:
            raise
        except Exception as error:  # whatever the tracker's client raises without a network or a login
            raise Mistake(f"--log {name}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    if found:
        ids = dict(zip(dict.fromkeys([*before, *names]), (each.id for each in found)))
        (run / FILE).write_text(json.dumps(ids) + "\n")
    return found


def imported(module: str, extra: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise Mistake(f"--log {module} needs {module}: pip install 'embodia[{extra}]'") from error


def flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested values by dotted name, in the order of the configuration."""
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
