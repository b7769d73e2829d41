"""How much memory a scene file will need, told from its header before anything large is read."""

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from embodia.envs.drawing.scene import SceneError

BYTES_PER_TRIANGLE = 1000  # measured high-water mark of reading, labelling and preparing to draw one triangle
BYTES_PER_TEXEL = 12  # the decoded image, its RGB copy, and the mip pyramid of 32-bit texels
TEXT_FACTOR = 14  # .obj and .ply: memory per byte of file


def refuse_if_too_large(path: Path, limit: int | None) -> None:
    """Raises SceneError with the estimate where loading `path` would take more than `limit` bytes."""
    limit = int(0.8 * available_memory()) if limit is None else limit
    need = required_memory(path)
    if need > limit:
        raise SceneError(
            f"{path}: loading this scene would take about {need / 1e6:,.0f} MB ({path.stat().st_size / 1e6:,.0f} MB on "
            f"disk), and {limit / 1e6:,.0f} MB may be used. Decimate the mesh or its textures, free memory, or raise "
            "memory_limit."
        )


def required_memory(path: Path) -> int:
    """Estimated high-water mark [bytes] of loading `path`."""
    if path.suffix.lower() != ".glb":
        return TEXT_FACTOR * path.stat().st_size
    header = _glb_header(path)
    accessors = header.get("accessors", [])
    triangles = 0
    for primitive in (p for mesh in header.get("meshes", []) for p in mesh.get("primitives", [])):
        key = primitive.get("indices", primitive.get("attributes", {}).get("POSITION"))
        if isinstance(key, int) and 0 <= key < len(accessors):
            triangles += int(accessors[key].get("count", 0)) // 3
    return BYTES_PER_TRIANGLE * triangles + BYTES_PER_TEXEL * _texels(path, header) + path.stat().st_size


def available_memory() -> int:
    """Memory that can be taken without swapping [bytes]; all of it where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33


def _glb_header(path: Path) -> dict[str, Any]:
    """The JSON chunk of a .glb; raises SceneError where the file is not one or is cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF" or head[16:20] != b"JSON":
            raise SceneError(f"{path}: not a binary glTF file (no 'glTF' header). Re-export it as .glb.")
        total, length = struct.unpack("<I", head[8:12])[0], struct.unpack("<I", head[12:16])[0]
        if total > size:
            raise SceneError(
                f"{path}: cut short: its header promises {total} bytes, the file has {size}. Fetch it again."
            )
        try:
            return dict(json.loads(file.read(length)))
        except ValueError as error:
            raise SceneError(f"{path}: its glTF header is not valid JSON ({error}).") from error


def _texels(path: Path, header: dict[str, Any]) -> int:
    """Texels of all embedded images, from the first bytes of each."""
    images, views = header.get("images", []), header.get("bufferViews", [])
    if not images:
        return 0
    texels = 0
    with path.open("rb") as file:
        file.seek(12)
        start = 20 + struct.unpack("<I", file.read(4))[0] + 8  # of the binary chunk's data
        for image in images:
            if isinstance(view := image.get("bufferView"), int) and view < len(views):
                file.seek(start + views[view].get("byteOffset", 0))
                try:
                    with Image.open(io.BytesIO(file.read(65536))) as picture:
                        texels += picture.width * picture.height
                except OSError:  # a format PIL does not know is not decoded either
                    continue
    return texels
