"""`embodia`: one verb, one module, imported when it is asked for."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from embodia.scripts.mistake import Mistake, nearest

VERBS = {
    "demo": "train, evaluate, record: the whole house in a few minutes",
    "train": "train a preset; the run folder holds checkpoints, curves, films and a report card",
    "eval": "judge a trained agent, random or the expert on unseen levels",
    "record": "film a policy: its view, the map, actions, rewards, scores",
    "imagine": "what a trained world model sees ahead: truth, imagination and error in one picture",
    "collect": "write episodes to disk; export to Minari and to the LeRobotDataset v3 layout",
    "pretrain": "an encoder that teaches itself on recorded episodes, pictures or films",
    "probe": "what a pretrained encoder knows: linear, nearest neighbours, regression, beside controls",
    "attention": "where a pretrained vision transformer looks, as pictures and films",
    "segment": "the objects that a pretrained encoder finds without labels, as pictures and films",
    "export": "generated homes as .glb with habitat-sim's configs",
    "compare": "two runs on the same seeds: the difference, its interval, and whether it is noise",
    "list": "presets, environments, agents, encoders",
    "bench": "how fast, how well: training against plain SB3, video, homes, driving, pretrained encoders",
    "doctor": "what this machine has, what is missing, and what that would enable",
}
USAGE = """usage: embodia VERB [--help]

Train embodied agents, evaluate them with confidence intervals, record what they did.

{verbs}

`embodia VERB --help` says what a verb takes. A mistake of yours ends with exit code 2 and one message;
EMBODIA_TRACEBACK=1 shows where it was found."""


ELSEWHERE = (
    ("embodia.agents.training.checkpoint", "CheckpointError"),
    ("embodia.agents.training.rows", "EpisodeError"),
    ("embodia.agents.training.rows", "NonFinite"),
    ("embodia.agents.training.scores", "ScoreError"),
    ("embodia.envs", "NoExpert"),
    ("embodia.envs.driving.nuplan.maps", "NuPlanDataError"),
    ("embodia.envs.driving.scenarios.pack", "PackError"),
    ("embodia.envs.homes.episodes.dataset", "EpisodeError"),
    ("embodia.envs.homes.engines.habitat_sim_engine", "HabitatSimMissing"),
    ("embodia.envs.homes.navmesh.navmesh", "NavMeshError"),
    ("embodia.envs.homes.walks", "WalksError"),
    ("embodia.envs.drawing.scene", "SceneError"),
    ("embodia.envs.video.clips", "VideoError"),
    ("embodia.envs.workers", "WorkerError"),
    ("gymnasium.error", "Error"),
    ("embodia.perception.encoders.observation", "WrongObservation"),
)
"""Exceptions whose message is for the user: bad files, bad numbers, unknown names, workers that died."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(os.cpu_count() or 1)))
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n".join(f"  {verb:<9} {line}" for verb, line in VERBS.items())))
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
        print("\n".join([f"embodia: {mistake}", *getattr(mistake, "__notes__", [])]), file=sys.stderr)
        return 2


def threads(cores: int) -> int:
    """For torch, unless OMP_NUM_THREADS says. Small nets gain little from more, and on a machine that is also doing
    something else, threads that wait for one another cost ten times what they bring."""
    return max(1, cores // 4)


def run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise Mistake(f"{verb} is no verb. {nearest(verb, VERBS)}")
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    return int(importlib.import_module(f"embodia.scripts.commands.{verb}").main(arguments))


def mistakes() -> tuple[type[Exception], ...]:
    """The exceptions that are the user's to mend; those of a module that nobody imported cannot have been raised."""
    raised = [getattr(sys.modules[module], name) for module, name in ELSEWHERE if module in sys.modules]
    return (Mistake, OSError, *raised)


if __name__ == "__main__":
    sys.exit(main())
