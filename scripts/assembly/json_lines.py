"""Files with one JSON object per line, which a killed process may leave with a torn line."""

import json
import warnings
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, or none if it does not exist; warns about each line that is torn, and skips it."""
    found = []
    if not path.exists():
        return []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            found.append(line)
        else:
            warnings.warn(f"{path} line {number} is torn; skipped", stacklevel=2)
    return found
