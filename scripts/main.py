"""The `embodia` command. Each subcommand is one module, imported on demand."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from embodia.scripts.mistake import Mistake, nearest

VERBS = {
    "demo": "train, evaluate and record an agent in a few minutes",
    "train": "train a preset; the run folder holds checkpoints, metrics, videos and a report card",
    "sweep": "train a preset with several values of its flags and several seeds, on this machine or on Ray",
    "eval": "evaluate a trained agent, or a baseline, on held-out levels",
    "record": "record videos of a policy: its view, the map, actions, rewards and scores",
    "imagine": "plot a world model's open-loop predictions beside the true observations",
    "collect": "record episodes to disk; export them to Minari and LeRobotDataset v3",
    "pretrain": "train an image encoder, a generative model, a detector or a segmenter on episodes, images or videos",
    "sample": "draw samples from a trained generative model: image grid, video of how they form, quality",
    "probe": "evaluate a pretrained encoder's features by linear probe, nearest neighbours and regression",
    "attention": "draw the attention maps of a pretrained vision transformer as images and videos",
    "ros": "run a trained agent as a ROS 2 node",
    "segment": "draw label maps and instances of a trained segmenter, or objects found without labels",
    "detect": "draw the boxes of a trained detector on images and videos; write COCO results",
    "track": "join a detector's boxes into tracks through videos and episodes; draw and score them",
    "export": "write generated homes as .glb files with habitat-sim's configuration files",
    "export-policy": "write a trained policy as ONNX and torch.export programs, checked on recorded observations",
    "share": "write a folder with a trained agent and its model card; upload it to the Hugging Face hub",
    "compare": "compare two runs on the same seeds, with confidence intervals and paired tests",
    "list": "list presets, environments and methods (agents, encoders, planners, ...)",
    "bench": "run benchmarks: speed, learning, planning, self-supervision, object discovery",
    "doctor": "check the installation, and show what optional packages would enable",
}
USAGE = """usage: embodia COMMAND [--help]

Train embodied agents, evaluate them with confidence intervals, and record videos of them.

commands:
{verbs}

`embodia COMMAND --help` shows the arguments of a command. A user error prints one message and exits with code 2;
set EMBODIA_TRACEBACK=1 to see its traceback."""


TOGETHER = ("train", "pretrain")
"""Commands that several processes of torchrun carry out together."""


ELSEWHERE = (
    ("embodia.agents.training.checkpoint", "CheckpointError"),
    ("embodia.agents.training.distributed", "ProcessLost"),
    ("embodia.agents.training.rows", "EpisodeError"),
    ("embodia.agents.training.rows", "NonFinite"),
    ("embodia.agents.training.scores", "ScoreError"),
    ("embodia.envs", "NoExpert"),
    ("embodia.envs.driving.nuplan.files", "NuPlanDataError"),
    ("embodia.envs.driving.scenarios.pack", "PackError"),
    ("embodia.envs.driving.simulation.closed_loop", "PlannerError"),
    ("embodia.envs.homes.episodes.dataset", "EpisodeError"),
    ("embodia.envs.homes.engines.habitat_sim_install", "HabitatSimMissing"),
    ("embodia.envs.homes.engines.habitat_sim_simulators", "HabitatSimError"),
    ("embodia.envs.homes.navmesh.navmesh", "NavMeshError"),
    ("embodia.envs.homes.walks", "WalksError"),
    ("embodia.envs.drawing.scene", "SceneError"),
    ("embodia.envs.video.clips", "VideoError"),
    ("embodia.envs.workers", "WorkerError"),
    ("embodia.envs.worlds", "MetricsError"),
    ("embodia.envs.worlds", "ObservationError"),
    ("gymnasium.error", "Error"),
    ("embodia.perception.generative", "NonFinite"),
    ("embodia.perception.generative.autoencoders.likelihoods", "OutOfRange"),
    ("embodia.perception.encoders.observation", "WrongObservation"),
    ("embodia.scripts.data.ros_messages", "MessageError"),
    ("embodia.perception.structured.segmentation", "BadLabels"),
)
"""Exceptions that are user errors, so only their message is shown: bad files, bad values, unknown names, ..."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(os.cpu_count() or 1)))
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n".join(f"  {verb:<13} {line}" for verb, line in VERBS.items())))
        return 0 if arguments else 2
    try:
        return run(arguments[0], arguments[1:])
    except KeyboardInterrupt:
        print("\nembodia: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `embodia list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except mistakes() as mistake:
        if os.environ.get("EMBODIA_TRACEBACK"):
            raise
        text = "\n".join([f"embodia: {mistake}", *getattr(mistake, "__notes__", [])])
        if not several() or distributed().is_first_to_say(text):
            print(text, file=sys.stderr, flush=True)
        return 2


def several() -> bool:
    """Return whether torchrun has started this process and others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def distributed() -> Any:
    """Import the module that joins these processes; it imports torch."""
    return importlib.import_module("embodia.agents.training.distributed")


def threads(cores: int) -> int:
    """Default number of torch threads on a machine with this many cores.

    It is low because small networks gain little from more threads, and on a busy machine threads that wait for each
    other can be ten times slower.
    """
    return max(1, cores // 4)


def run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise Mistake(f"unknown command {verb}. {nearest(verb, VERBS)}")
    if several():
        if verb not in TOGETHER:
            raise Mistake(f"torchrun starts {' and '.join(TOGETHER)} in several processes; start {verb} without it")
        distributed().start()
    importlib.import_module("embodia.scripts.presets.typos").check(verb, arguments)
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    return int(importlib.import_module(f"embodia.scripts.commands.{verb.replace('-', '_')}").main(arguments))


def mistakes() -> tuple[type[Exception], ...]:
    """Return the exceptions that are user errors; a module that is not imported cannot have raised any."""
    raised = [getattr(sys.modules[module], name) for module, name in ELSEWHERE if module in sys.modules]
    return (Mistake, OSError, *raised)


if __name__ == "__main__":
    sys.exit(main())
