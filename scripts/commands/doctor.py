"""`embodia doctor`: what this machine has, what is missing, and what each missing piece would enable."""

import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import tyro

import embodia


@dataclass(frozen=True)
class Args:
    """Look at this machine and say what works; exit code 1 if something needed does not."""

    runs: Path = Path("runs")
    """The folder that runs are written to."""
    json: bool = False
    """End with one JSON object."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    name: str
    fine: bool
    says: str
    mend: str = ""
    needed: bool = True


OPTIONAL = {
    "minari": ("collect --to minari: datasets that Minari opens", "pip install 'minari>=0.5'"),
    "pyarrow": ("collect --to lerobot: datasets in the LeRobot v3 layout", "pip install 'pyarrow>=15'"),
    "transformers": ("published vision weights as encoders", "pip install 'transformers>=4.45'"),
    "rerun": ("the interactive viewer", "pip install 'rerun-sdk>=0.20'"),
    "habitat_sim": (
        "homes on Habitat's own engine and scans",
        "conda install habitat-sim headless -c conda-forge -c aihabitat",
    ),
}


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia doctor")
    findings = [python(), package(), cores(), memory(), torch(), films(), writable(args.runs), writable_home()]
    findings += [optional(name, *OPTIONAL[name]) for name in OPTIONAL]
    for finding in findings:
        print(line(finding))
    broken = [finding for finding in findings if finding.needed and not finding.fine]
    print(f"\n{len(broken)} of the needed parts are broken." if broken else "\nEverything needed works.")
    if args.json:
        print(json.dumps({"fine": not broken, "findings": [asdict(finding) for finding in findings]}))
    return 1 if broken else 0


def line(finding: Finding) -> str:
    mark = "ok  " if finding.fine else ("FAIL" if finding.needed else "--  ")
    mend = f"\n{'':21}to mend: {finding.mend}" if finding.mend and not finding.fine else ""
    return f"{mark} {finding.name:<15} {finding.says}{mend}"


def python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding("python", fine, f"{platform.python_version()} at {sys.executable}", "use Python 3.11 or newer")


def package() -> Finding:
    """Which copy of the project runs: the one that is installed, or another one on the path."""
    return Finding("embodia", True, f"{metadata.version('embodia')} in {Path(embodia.__file__).parent}")


def cores() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", True, f"{count} usable, {platform.machine()}, {platform.system()} {platform.release()}")


def memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", True, "unknown on this system", needed=False)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Finding("memory", total > 2, f"{total:.1f} GiB", "2 GiB are the least", needed=False)


def torch() -> Finding:
    mend = "pip install 'torch>=2.8,<2.14'"
    try:
        import torch as engine
    except Exception as error:
        return Finding("torch", False, f"does not import: {error}", mend)
    if importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
        except Exception as error:
            return Finding("torch", False, f"torchvision beside it is broken: {error}", "pip uninstall torchvision")
    if engine.cuda.is_available():
        devices = ", ".join(engine.cuda.get_device_name(i) for i in range(engine.cuda.device_count()))
        return Finding("torch", True, f"{engine.__version__}; device=auto takes cuda ({devices})")
    built = "" if engine.version.cuda is None else f"; built for CUDA {engine.version.cuda}, but no driver answers"
    return Finding("torch", True, f"{engine.__version__}; device=auto takes the cpu{built}")


def films() -> Finding:
    """Encode one film and read it back: the wheel, its FFmpeg and its x264 all have to answer."""
    mend = "pip install --force-reinstall 'av>=12'"
    try:
        import av
        import numpy as np

        from embodia.scripts.report import video

        with tempfile.TemporaryDirectory() as folder:
            path = video.write(Path(folder) / "x.mp4", [np.full((64, 64, 3), 99, np.uint8)] * 3)
            fine = len(video.read(path)) == 3
        version = ".".join(map(str, av.library_versions["libavcodec"]))
        return Finding("video", fine, f"PyAV {av.__version__}, libavcodec {version}, H.264 encodes and decodes", mend)
    except Exception as error:
        return Finding("video", False, f"no film can be written: {error}", mend)


def writable(folder: Path) -> Finding:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    fine = os.access(place, os.W_OK)
    says = f"{folder.absolute()} {'can be written' if fine else 'cannot be written'}, {free:.1f} GiB free"
    return Finding("runs", fine and free > 0.2, says, "--runs FOLDER names another; free some space if there is none")


def writable_home() -> Finding:
    home = Path.home()
    fine = os.access(home, os.W_OK)
    says = f"{home} can be written" if fine else f"{home} cannot be written; nothing here needs it"
    return Finding("home", fine, says, needed=False)


def optional(name: str, enables: str, mend: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, f"not installed; would enable {enables}", mend, needed=False)
    try:
        version = metadata.version({"rerun": "rerun-sdk", "habitat_sim": "habitat-sim"}.get(name, name))
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    return Finding(name, True, f"{version}; enables {enables}", needed=False)
