"""How much memory a scene file will need, told before anything large is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.fields import reading
from embodia.envs.homes.files.free_memory import available_memory
from embodia.envs.homes.files.gltf import check_gltf

BYTES_PER_TRIANGLE = 1000  # measured high-water mark of reading, labelling and preparing to draw one triangle
BYTES_PER_NUMBER = 8
BYTES_PER_TEXEL = 12  # the decoded image, its RGB copy, and the mip pyramid of 32-bit texels
TEXT_FACTOR = 14  # .obj and .ply: memory per byte of file


def refuse_if_too_large(path: Path, limit: int | None) -> None:
    """Raises SceneError with the estimate where loading `path` would take more than `limit` bytes."""
    limit = int(0.8 * available_memory()) if limit is None else limit
    with reading(path, "its size", SceneError):
        need = required_memory(path)
    if need > limit:
        raise SceneError(
            f"{path}: loading this scene would take about {need / 1e6:,.0f} MB ({path.stat().st_size / 1e6:,.0f} MB on "
            f"disk), and {limit / 1e6:,.0f} MB may be used. Decimate the mesh or its textures, free memory, or raise "
            "memory_limit."
        )


def required_memory(path: Path) -> int:
    """Estimated high-water mark [bytes] of loading `path`. Raises SceneError for an image too large for any."""
    size = path.stat().st_size
    if path.suffix.lower() not in (".glb", ".gltf"):
        return TEXT_FACTOR * size + BYTES_PER_TEXEL * _texels(path, _images_of_obj(path))
    header = check_gltf(path)
    texels = _texels(path, header.images())
    return (
        BYTES_PER_TRIANGLE * header.triangles() + BYTES_PER_NUMBER * header.numbers() + BYTES_PER_TEXEL * texels + size
    )


def _texels(path: Path, images: Iterator[tuple[str, BinaryIO]]) -> int:
    """Texels of all images, from the first bytes of each."""
    texels = 0
    for name, file in images:
        try:
            with Image.open(file) as picture:
                texels += picture.width * picture.height
        except Image.DecompressionBombError as error:
            raise SceneError(f"{path}: {name} is too large to be decoded ({error}). Scale it down.") from error
        except Exception:  # formats that PIL does not know are not decoded later either
            continue
    return texels


def _images_of_obj(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The images that the materials of an .obj name."""
    if path.suffix.lower() != ".obj":
        return
    for library in _named(path, b"mtllib"):
        for image in _named(library, b"map_Kd"):
            with image.open("rb") as file:
                yield f"the image {image.name}", file


def _named(path: Path, keyword: bytes) -> list[Path]:
    """The existing files that lines of a text file name after a keyword."""
    with path.open("rb") as file:
        words = [line.split(None, 1) for line in file if line.lstrip().startswith(keyword)]
    files = [path.parent / each[1].strip().decode(errors="replace") for each in words if len(each) == 2]
    return [file for file in dict.fromkeys(files) if file.is_file()]
