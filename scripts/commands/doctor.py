"""`embodia doctor`: check the installation, and show what missing packages would enable."""

import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import tyro

import embodia
from embodia.scripts.mistake import Mistake


@dataclass(frozen=True)
class Args:
    """Check the installation. The exit code is 1 if something required does not work."""

    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    logs: str | None = None
    """nuPlan logs to check; by default $NUPLAN_DATA_ROOT."""
    maps: str | None = None
    """Folder of nuPlan's maps; by default $NUPLAN_MAPS_ROOT, else a folder maps beside the logs."""
    json: bool = False
    """Print the results as one JSON object at the end."""
    scene: Path | None = None
    """Scene file (.glb, .gltf, .obj, .ply): show how it is read instead of checking the installation."""
    up: Literal["y", "z"] | None = None
    """Axis that points up in --scene. None follows its stage config or format."""
    island: int | None = None
    """Island of the navmesh for episodes in --scene. None chooses it."""
    out: Path | None = None
    """Image to write for --scene. None writes <scene>.understood.png to the current folder."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    fine: bool
    says: str
    mend: str = ""
    needed: bool = True


OPTIONAL = {
    "minari": ("embodia collect --to minari", "pip install 'minari>=0.5'"),
    "pyarrow": ("embodia collect --to lerobot", "pip install 'pyarrow>=15'"),
    "transformers": ("pretrained vision transformers as encoders", "pip install 'transformers>=4.45'"),
    "rerun": ("the interactive viewer", "pip install 'rerun-sdk>=0.20'"),
}


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia doctor")
    if args.scene is not None:
        return show_scene(args.scene, args.up, args.island, args.out)
    findings = [
        python(),
        package(),
        cores(),
        memory(),
        torch(),
        films(),
        kernels(),
        writable(args.runs),
        writable_home(),
    ]
    findings += [optional(name, *OPTIONAL[name]) for name in OPTIONAL]
    findings.append(habitat_sim())
    findings.append(nuplan(args.logs, args.maps))
    for finding in findings:
        print(line(finding))
    broken = [finding for finding in findings if finding.needed and not finding.fine]
    print(f"\n{len(broken)} required parts do not work." if broken else "\nAll required parts work.")
    if args.json:
        print(json.dumps({"fine": not broken, "findings": [asdict(finding) for finding in findings]}))
    return 1 if broken else 0


def show_scene(path: Path, up: Literal["y", "z"] | None, island: int | None, out: Path | None) -> int:
    """Describe a scene file as the homes read it, and draw it from above, from the side and from inside."""
    import cv2

    from embodia.envs.homes.inspection import inspect

    lines, image = inspect(path, up, island)
    out = out or Path(f"{path.name}.understood.png")
    try:
        written = cv2.imwrite(str(out), image[..., ::-1])
    except cv2.error:  # no image format ends like this
        written = False
    if not written:
        raise Mistake(f"{out} cannot be written; --out names another file, such as scene.png")
    print("\n".join([*lines, f"picture   {out}"]))
    return 0


def line(finding: Finding) -> str:
    mark = "ok  " if finding.fine else ("FAIL" if finding.needed else "--  ")
    mend = f"\n{'':21}to fix: {finding.mend}" if finding.mend and not finding.fine else ""
    return f"{mark} {finding.name:<15} {finding.says}{mend}"


def python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding("python", fine, f"{platform.python_version()} at {sys.executable}", "use Python 3.11 or newer")


def package() -> Finding:
    """Report which copy of the project is imported."""
    return Finding("embodia", True, f"{metadata.version('embodia')} in {Path(embodia.__file__).parent}")


def cores() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", True, f"{count} usable, {platform.machine()}, {platform.system()} {platform.release()}")


def memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", True, "unknown on this system", needed=False)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Finding("memory", total > 2, f"{total:.1f} GiB", "use a machine with at least 2 GiB", needed=False)


def torch() -> Finding:
    mend = "pip install 'torch>=2.8,<2.14'"
    try:
        import torch as engine
    except Exception as error:
        return Finding("torch", False, f"cannot be imported: {error}", mend)
    if importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
        except Exception as error:
            return Finding("torch", False, f"the installed torchvision is broken: {error}", "pip uninstall torchvision")
    if engine.cuda.is_available():
        devices = ", ".join(engine.cuda.get_device_name(i) for i in range(engine.cuda.device_count()))
        return Finding("torch", True, f"{engine.__version__}; device auto is cuda ({devices})")
    built = "" if engine.version.cuda is None else f"; built for CUDA {engine.version.cuda}, but no CUDA device works"
    return Finding("torch", True, f"{engine.__version__}; device auto is cpu{built}")


def films() -> Finding:
    """Encode a short video and read it back, which needs PyAV, its FFmpeg and its x264."""
    mend = "pip install --force-reinstall 'av>=12'"
    try:
        import av
        import numpy as np

        from embodia.scripts.report import video

        with tempfile.TemporaryDirectory() as folder:
            path = video.write(Path(folder) / "x.mp4", [np.full((64, 64, 3), 99, np.uint8)] * 3)
            fine = len(video.read(path)) == 3
        version = ".".join(map(str, av.library_versions["libavcodec"]))
        return Finding("video", fine, f"PyAV {av.__version__}, libavcodec {version}, H.264 works", mend)
    except Exception as error:
        return Finding("video", False, f"videos cannot be written: {error}", mend)


def kernels() -> Finding:
    """Check where compiled kernels of homes and roads are kept."""
    from embodia.envs.compiled import cache_folder

    folder = cache_folder()
    if folder is None:
        says = "no cache can be written: homes and roads are compiled anew in each process, for a minute or two"
        return Finding("kernels", False, says, "set NUMBA_CACHE_DIR to a folder that can be written", needed=False)
    return Finding("kernels", True, f"compiled once, and kept in {folder}")


def writable(folder: Path) -> Finding:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    fine = os.access(place, os.W_OK)
    says = f"{folder.absolute()} {'is writable' if fine else 'is not writable'}, {free:.1f} GiB free"
    return Finding("runs", fine and free > 0.2, says, "choose another folder with --runs, or free some space")


def writable_home() -> Finding:
    home = Path.home()
    fine = os.access(home, os.W_OK)
    says = f"{home} is writable" if fine else f"{home} is not writable (not required)"
    return Finding("home", fine, says, needed=False)


def optional(name: str, enables: str, mend: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, f"not installed; would enable {enables}", mend, needed=False)
    try:
        version = metadata.version({"rerun": "rerun-sdk"}.get(name, name))
    except metadata.PackageNotFoundError:
        version = "unknown version"
    return Finding(name, True, f"{version}; enables {enables}", needed=False)


def habitat_sim() -> Finding:
    """Import habitat_sim, and say which version it is: 0.3.4 calls itself 0.3.3."""
    enables = "homes in habitat-sim, with its scanned scenes"
    mend = "habitat-sim 0.3.4 with numpy 2.0 to 2.3, built for Python 3.11 (conda's 0.3.3 is for Python 3.9)"
    if importlib.util.find_spec("habitat_sim") is None:
        return Finding("habitat_sim", False, f"not installed; would enable {enables}", mend, needed=False)
    from embodia.envs.homes.engines.habitat_sim_install import describe, import_habitat_sim

    try:
        return Finding("habitat_sim", True, f"{describe(import_habitat_sim())}; enables {enables}", needed=False)
    except Exception as error:
        return Finding("habitat_sim", False, f"cannot be imported: {error.__cause__ or error}", mend, needed=False)


def nuplan(logs: str | None, maps: str | None) -> Finding:
    """Read the tags of nuPlan's logs and one scenario with its map. Required only if --logs is given."""
    mend = "--logs PATH --maps PATH, or set NUPLAN_DATA_ROOT and NUPLAN_MAPS_ROOT"
    where = logs or os.environ.get("NUPLAN_DATA_ROOT")
    if where is None:
        return Finding("nuplan", False, "no logs; roads are generated", mend, needed=False)
    from embodia.envs.driving.nuplan.source import LogScenarios

    try:
        found = LogScenarios(where, maps)
        town = found[0].map.name
    except (OSError, ValueError) as error:
        return Finding("nuplan", False, str(error), mend, needed=logs is not None)
    types = Counter(tag.type for tag in found.tags)
    common = ", ".join(f"{name} ({count})" for name, count in types.most_common(3))
    files = len({tag.log for tag in found.tags})
    says = f"{where}: {len(found)} scenarios in {files} logs, {len(types)} types: {common}; the map of {town} reads"
    return Finding("nuplan", True, says, needed=logs is not None)
