"""Where the films are: a folder of them, or the takes of Ego-Exo4D (Grauman et al. 2024)."""

import json
from pathlib import Path
from typing import Any

from embodia.envs.video.clips import VideoError

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
EGO_STREAM = "rgb"  # of the Aria glasses; the others are its grey cameras


def films(folder: Path | str) -> tuple[Path, ...]:
    """All films in a folder and below, by name; of an Ego-Exo4D release (`takes.json`) the wearer's own camera.

    Raises:
        VideoError: where there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return (folder,)
    if (folder / "takes.json").is_file():
        return ego_exo4d(folder)
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES))
    if not found:
        raise VideoError(f"{folder}: no film ({', '.join(SUFFIXES)}) and no takes.json; name a folder that holds some")
    return found


def ego_exo4d(release: Path) -> tuple[Path, ...]:
    """The first-person film of every take downloaded, a scaled-down copy (448) where the full one is missing.

    A take lies in `takes/<name>`, its films below it under the names that `takes.json` gives for camera and stream.

    Raises:
        VideoError: naming the field of `takes.json` that is not as expected, or where no take was downloaded.
    """
    listed = release / "takes.json"
    try:
        takes = json.loads(listed.read_text())
        places = [place for take in takes for place in _ego(release, take)]
    except (OSError, ValueError) as error:
        raise VideoError(f"{listed}: cannot be read ({error}); download it again") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise VideoError(f"{listed}: {error} is missing or of another form; it is not Ego-Exo4D's") from error
    found = tuple(path for path in map(_downloaded, places) if path is not None)
    if not found:
        raise VideoError(f"{release}: none of the {len(takes)} takes of takes.json has its first-person film here")
    return found


def _ego(release: Path, take: dict[str, Any]) -> list[Path]:
    """Where the wearer's films should lie."""
    if take.get("is_dropped"):
        return []
    streams = [each[EGO_STREAM] for each in take["frame_aligned_videos"].values() if EGO_STREAM in each]
    home = release / "takes" / Path(take.get("root_dir", take["take_name"])).name  # early releases left out "takes/"
    return [home / path for stream in streams if (path := stream["relative_path"])]  # null: never published


def _downloaded(path: Path) -> Path | None:
    small = path.parent / "downscaled" / "448" / path.name
    return next((each for each in (path, small) if each.is_file()), None)
