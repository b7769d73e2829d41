"""Find videos: in a folder, or in the takes of Ego-Exo4D (Grauman et al. 2024)."""

import json
from pathlib import Path
from typing import Any

from embodia.envs.video.clips import VideoError

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
EGO_STREAM = "rgb"  # the colour camera of the Aria glasses; the others are greyscale


def films(folder: Path | str) -> tuple[Path, ...]:
    """Return all videos in a folder and its subfolders, by name.

    For an Ego-Exo4D release (with `takes.json`), return the wearer's camera of each take.

    Raises:
        VideoError: If there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return (folder,)
    if (folder / "takes.json").is_file():
        return ego_exo4d(folder)
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES))
    if not found:
        raise VideoError(f"{folder}: no video ({', '.join(SUFFIXES)}) and no takes.json; give a folder with videos")
    return found


def ego_exo4d(release: Path) -> tuple[Path, ...]:
    """Return the first-person video of every downloaded take, or its scaled-down copy (448) if only that exists.

    A take is stored in `takes/<name>`; `takes.json` gives the file names per camera and stream.

    Raises:
        VideoError: If a field of `takes.json` is not as expected, or no take was downloaded.
    """
    listed = release / "takes.json"
    try:
        takes = json.loads(listed.read_text())
        places = [place for take in takes for place in _ego(release, take)]
    except (OSError, ValueError) as error:
        raise VideoError(f"{listed}: cannot be read ({error}); download it again") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise VideoError(f"{listed}: {error} is missing or has another format; give Ego-Exo4D's file") from error
    found = tuple(path for path in map(_downloaded, places) if path is not None)
    if not found:
        raise VideoError(
            f"{release}: none of the {len(takes)} takes in takes.json has its first-person video here; download it"
        )
    return found


def _ego(release: Path, take: dict[str, Any]) -> list[Path]:
    """Return the expected paths of the wearer's videos."""
    if take.get("is_dropped"):
        return []
    streams = [each[EGO_STREAM] for each in take["frame_aligned_videos"].values() if EGO_STREAM in each]
    home = release / "takes" / Path(take.get("root_dir", take["take_name"])).name  # early releases omit "takes/"
    return [home / path for stream in streams if (path := stream["relative_path"])]  # null: never published


def _downloaded(path: Path) -> Path | None:
    small = path.parent / "downscaled" / "448" / path.name
    return next((each for each in (path, small) if each.is_file()), None)
