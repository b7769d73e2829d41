"""Header of a glTF file, checked before anything large is read.

Source: Khronos, glTF 2.0 specification.
"""

import base64
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.fields import Fields, read_object, reading

MOST_NODES = 30_000  # more take minutes to place
MOST_HEADER = 2**28  # [bytes]
COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
    "KHR_texture_basisu": "KTX2",
}
READ = (
    "KHR_materials_",
    "KHR_lights_punctual",
    "KHR_texture_transform",
    "KHR_mesh_quantization",
    "KHR_xmp",
    "EXT_texture",
)
"""Beginnings of the extensions that may be required: they change the look of a scene, not its geometry."""


@dataclass(frozen=True)
class Gltf:
    """The header of a .glb or .gltf file."""

    path: Path
    top: Fields
    binary: int | None  # where the data of the binary chunk begin in the file; None in a .gltf

    def triangles(self) -> int:
        accessors = self.top.objects("accessors")
        total = 0
        for mesh in self.top.objects("meshes"):
            for primitive in mesh.objects("primitives"):
                key = primitive.integer("indices")
                if key is None:
                    attributes = Fields(primitive.mapping("attributes"), primitive.where, SceneError)
                    key = attributes.integer("POSITION")
                if key is not None and 0 <= key < len(accessors):
                    total += _count(accessors[key]) // 3
        return total

    def numbers(self) -> int:
        """Upper bound of the numbers in all accessors."""
        return 16 * sum(_count(accessor) for accessor in self.top.objects("accessors"))

    def images(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yield the name (for messages) and a stream of each image that exists."""
        views = self.top.objects("bufferViews")
        for number, image in enumerate(self.top.objects("images")):
            name, uri, view = f"image {number}", image.text("uri"), image.integer("bufferView")
            if uri is not None and uri.startswith("data:"):
                yield name, io.BytesIO(base64.b64decode(uri.partition(",")[2] + "=="))
            elif uri is not None and (self.path.parent / unquote(uri)).is_file():
                with (self.path.parent / unquote(uri)).open("rb") as file:
                    yield f"{name} ({uri})", file
            elif view is not None and 0 <= view < len(views) and self.binary is not None:
                with self.path.open("rb") as file:
                    file.seek(self.binary + (views[view].integer("byteOffset") or 0))
                    yield name, io.BytesIO(file.read(65536))


def read_header(path: Path) -> Gltf:
    """Return the header of a file. Raises SceneError, also for required extensions that are not supported."""
    if path.suffix.lower() == ".glb":
        content, binary = _glb_header(path)
    else:
        content, binary = read_object(path, SceneError), None
    top = Fields(content, f"{path}: its glTF header", SceneError)
    _check(top, path)
    return Gltf(path, top, binary)


def _glb_header(path: Path) -> tuple[Any, int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF" or head[16:20] != b"JSON":
            raise SceneError(f"{path}: not a binary glTF file (no 'glTF' header). Re-export it as .glb.")
        total, length = struct.unpack("<I", head[8:12])[0], struct.unpack("<I", head[12:16])[0]
        promised = max(total, length)
        if promised > size:
            raise SceneError(
                f"{path}: cut short: its header promises {promised} bytes, the file has {size}. Fetch it again."
            )
        if length > MOST_HEADER:
            raise SceneError(f"{path}: its glTF header has {length / 1e6:,.0f} MB. Join its nodes and meshes.")
        try:
            return json.loads(file.read(length)), 20 + length + 8
        except (ValueError, RecursionError) as error:
            raise SceneError(f"{path}: its glTF header is not valid JSON ({error}).") from error


def _check(top: Fields, path: Path) -> None:
    """Raises SceneError for extensions that cannot be read, and for trees that would not end."""
    for name in top.values("extensionsRequired"):
        if name in COMPRESSIONS:
            raise SceneError(
                f"{path}: its data are compressed with {COMPRESSIONS[name]} ({name}), which is not read here. Export "
                "it without compression, for example by `gltf-transform copy`, or by Blender with compression off."
            )
        if not str(name).startswith(READ):
            raise SceneError(f"{path}: requires the glTF extension {name!r}, which is not read here. Export without.")
    count = len(top.values("nodes"))
    if count > MOST_NODES:
        raise SceneError(f"{path}: has {count:,} nodes; at most {MOST_NODES:,} are read. Join its meshes.")
    nodes = top.objects("nodes")
    parents = [0] * len(nodes)
    for number, node in enumerate(nodes):
        for child in node.values("children"):
            if not isinstance(child, int) or not 0 <= child < len(nodes):
                raise SceneError(f"{path}: node {number} names child {child!r}; the file has {len(nodes)} nodes.")
            parents[child] += 1
            if parents[child] > 1:
                raise SceneError(f"{path}: node {child} is the child of several nodes. A glTF scene is a tree.")


def _count(accessor: Fields) -> int:
    count = accessor.integer("count") or 0
    if count < 0:
        raise accessor.refuse("count", "at least 0")
    return count


def check_gltf(path: Path) -> Gltf:
    """`read_header`, with every other error turned into SceneError."""
    with reading(path, "its glTF header", SceneError):
        return read_header(path)
