"""The Hugging Face hub: download a shared run, upload one. `huggingface_hub` is imported when it is needed."""

import re
import sys
from pathlib import Path
from typing import Any

from embodia.scripts.mistake import Mistake

PREFIX = "hf://"
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ("config.json", "README.md", "report.json", "report.html", "episodes.jsonl", "checkpoints/*", "pretrained/*",
         "videos/*", "policy/*", "levels.npy", "metrics.jsonl")  # fmt: skip
"""Files of a run; others in a repository are not downloaded."""


def fetched(target: str, under: Path) -> Path:
    """Download the run `hf://user/name` to a folder below `under` and return it.

    If the hub does not answer, a copy that was downloaded before is used, and a note says so.

    Raises:
        Mistake: if the name is malformed, huggingface-hub is missing, or the hub has no such run or does not answer.
    """
    repo = checked(target.removeprefix(PREFIX))
    folder = under / repo.replace("/", "--")
    try:
        hub().snapshot_download(repo, local_dir=folder, allow_patterns=list(FILES))
    except Exception as error:  # whatever the network and the hub raise
        if not (folder / "config.json").is_file():
            raise Mistake(f"{target}: the hub gave no run ({first_line(error)})") from error
        print(f"{target}: the hub does not answer ({first_line(error)}); using the copy in {folder}", file=sys.stderr)
    if not (folder / "config.json").is_file():
        raise Mistake(f"{target} is no run of Embodia: it has no config.json")
    return folder


def upload(folder: Path, repo: str, private: bool) -> str:
    """Upload a folder as the model repository `user/name`, and return its address.

    Raises:
        Mistake: if huggingface-hub is missing, or the hub does not take it. The folder stays.
    """
    client = hub()
    try:
        address = str(client.create_repo(repo, repo_type="model", private=private, exist_ok=True))
        client.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload with embodia share")
    except Exception as error:  # whatever the network and the hub raise
        raise Mistake(f"{repo}: not uploaded ({first_line(error)}); the folder is {folder}") from error
    return address


def checked(repo: str) -> str:
    """Return the name of a repository. Raises Mistake if it is not like `user/name`."""
    if not REPO.fullmatch(repo):
        raise Mistake(f"{repo!r} is no name on the hub; give one like user/name")
    return repo


def hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise Mistake("the hub needs huggingface-hub: pip install 'embodia[hub]'") from error
    return huggingface_hub


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
