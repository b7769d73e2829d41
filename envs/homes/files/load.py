"""Read a scanned or modelled home: .glb, .gltf, .obj, .ply through trimesh, with HM3D-style annotation.

Which way is up: `up=` decides, then a `<name>.stage_config.json` beside the file. Without either, glTF and .obj are
y-up (glTF's own convention) and .ply is z-up; scans of HM3D, MP3D and Gibson, known by their folders, are z-up as they
are on disk. (habitat-sim reads every bare .glb as z-up.) Semantic .ply meshes are always z-up, as in habitat-sim.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embodia.envs.drawing.scene import LIGHT_ONE, Array, Scene, SceneError
from embodia.envs.homes.files.fields import Fields, read_object, reading
from embodia.envs.homes.files.memory import refuse_if_too_large
from embodia.envs.homes.files.meshes import picture_of, placed_meshes
from embodia.envs.homes.files.semantics import Annotation, find_annotation

Up = Literal["y", "z"]
FORMATS = (".glb", ".gltf", ".obj", ".ply")
STAGE_CONFIG = ".stage_config.json"

SCANS = ("hm3d", "mp3d", "gibson", "habitat-test-scenes")  # folders of data sets whose .glb are z-up on disk

Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # a z-up file's (x, y, z) to the world's (x, z, -y)


def load_scene(
    path: str | Path, *, up: Up | None = None, scene_id: str | None = None, memory_limit: int | None = None
) -> Scene:
    """Read a scene file, or the `.stage_config.json` that names it, to a `Scene` in metres, y-up.

    `memory_limit` [bytes] is what loading may take at most; default 80 % of the memory that is free now.
    Raises SceneError, naming the file: missing, of a foreign format, broken, without faces, with NaN vertices,
    or too large for the memory (checked before anything is read).
    """
    stage = _stage(Path(path), up)
    refuse_if_too_large(stage.asset, memory_limit)
    parts = _read_parts(stage.asset)
    turn = stage.turn * stage.scale
    vertices = np.concatenate([part.vertices for part in parts]) @ turn.T
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets)])
    with reading(stage.asset, "its textures", SceneError):
        textures, texture = _textures(parts)
    light, light_uv = _colour_map(parts)
    vertices = vertices.astype(np.float32)
    semantic_id = np.zeros(len(faces), np.int32)
    objects: tuple[Any, ...] = ()
    if stage.annotation is not None and np.isfinite(vertices).all():
        with reading(stage.annotation.mesh, "its labels", SceneError):
            semantic_id, objects = stage.annotation.label(vertices[faces])
    return Scene(
        scene_id=scene_id or str(path),
        vertices=vertices,
        faces=faces.astype(np.int32),
        semantic_id=semantic_id,
        texture=texture,
        uv=np.concatenate([part.uv for part in parts]).astype(np.float32),
        textures=textures,
        light=light,
        light_uv=light_uv,
        double_sided=np.concatenate([np.full(len(part.faces), part.double_sided) for part in parts]),
        objects=objects,
        source=stage.asset,
    )


@dataclass(frozen=True)
class _Stage:
    """File of the triangles, its orientation and scale, and its annotation."""

    asset: Path
    turn: Array  # (3, 3) rotation from the file's frame to the world's
    scale: Array  # (3,)
    annotation: Annotation | None


def _stage(path: Path, up: Up | None) -> _Stage:
    if not path.exists():
        raise SceneError(f"{path}: no such scene file. Check the path, or the scenes_dir it is joined to.")
    config_path, asset = path.with_name(path.name.removesuffix(path.suffix) + STAGE_CONFIG), path
    if path.name.endswith(STAGE_CONFIG):
        config_path = path
    config = Fields({}, str(config_path), SceneError)
    if config_path.exists():
        config = Fields(read_object(config_path, SceneError), str(config_path), SceneError)
    if path == config_path:
        name = config.text("render_asset")
        if not name:
            raise SceneError(f'{path}: field "render_asset" is missing; it names the scene file.')
        asset = path.parent / name
        if not asset.is_file():
            raise SceneError(f"{path}: render_asset {name!r} does not exist beside it.")
    if asset.suffix.lower() not in FORMATS:
        raise SceneError(f"{asset}: format {asset.suffix!r} is not read; use one of {', '.join(FORMATS)}.")
    if not asset.is_file():
        raise SceneError(f"{asset}: is no regular file.")
    turn, scale = _upright(asset, config, up), _scale(config)
    return _Stage(asset, turn, scale, find_annotation(asset, config, turn * scale, Z_UP * scale))


def _scale(config: Fields) -> Array:
    """Metres per unit of the file along each axis."""
    unit = config.number("units_to_meters", 1.0)
    scale = np.asarray(config.vector("scale", 3) if "scale" in config else (1, 1, 1), np.float64) * unit
    if not (scale > 0).all():
        raise config.error(
            f'{config.where}: "scale" times "units_to_meters" is {scale.tolist()}; each must be above 0.'
        )
    return scale


def _upright(asset: Path, config: Fields, up: Up | None) -> Array:
    """Rotation from the file's axes to the world's."""
    if up is None and "up" in config:
        front = config.vector("front", 3) if "front" in config else (0, 0, -1)
        return _frame(np.asarray(config.vector("up", 3), float), np.asarray(front, float), asset)
    return np.eye(3) if is_y_up(asset, up) else Z_UP


def is_y_up(asset: Path, up: Up | None = None) -> bool:
    """Whether a scene file without a stage config counts as y-up."""
    return up == "y" if up is not None else not (asset.suffix.lower() == ".ply" or is_scan(asset))


def upright_by(path: Path, up: Up | None = None) -> str:
    """Describe what determines the orientation of a scene file."""
    config = path.with_name(path.name.removesuffix(path.suffix) + STAGE_CONFIG)
    if up is not None:
        return f"+{up} points up, as asked for"
    if path.name.endswith(STAGE_CONFIG) or (config.exists() and "up" in read_object(config, SceneError)):
        return f"up and front follow {path.name if path.name.endswith(STAGE_CONFIG) else config.name}"
    if is_scan(path):
        return "+z points up, as in scans of HM3D, MP3D and Gibson"
    kind = f"{path.suffix} files without a stage config"
    return f"+y points up, as in {kind}" if is_y_up(path) else f"+z points up, as in {kind}"


def is_scan(asset: Path) -> bool:
    """Whether a file is a scan that is z-up on disk: named `.basis.glb`, or in a folder of `SCANS` at most four up."""
    folders = asset.absolute().parts[-5:-1]
    return asset.name.endswith(".basis.glb") or any(folder.lower().startswith(SCANS) for folder in folders)


def _frame(up: Array, front: Array, asset: Path) -> Array:
    """The rotation that takes `up` to +y and `front` to -z."""
    right = np.cross(front, up)
    if not np.isclose(np.linalg.norm(right), np.linalg.norm(up) * np.linalg.norm(front)) or not right.any():
        raise SceneError(f"{asset}: its stage config's up {up.tolist()} and front {front.tolist()} are not orthogonal.")
    return np.stack([right / np.linalg.norm(right), up / np.linalg.norm(up), -front / np.linalg.norm(front)])


@dataclass(frozen=True)
class _Part:
    """One mesh of the file, placed."""

    vertices: Array  # (V, 3)
    faces: Array  # (F, 3)
    uv: Array  # (F, 3, 2)
    image: Any  # PIL image or None
    colour: Array  # (F, 3, 3) per-corner factors in 0..1
    double_sided: bool


def _read_parts(path: Path) -> list[_Part]:
    parts = []
    for name, mesh, matrix in placed_meshes(path):
        with reading(path, f"mesh {name!r}", SceneError):
            parts.append(_part(mesh, matrix))
    if not parts:
        raise SceneError(f"scene '{path}' has no faces: nothing to draw or walk on. Export it with its triangles.")
    return parts


def _part(mesh: Any, matrix: Array) -> _Part:
    vertices = np.asarray(mesh.vertices) @ matrix[:3, :3].T + matrix[:3, 3]
    faces = np.asarray(mesh.faces)
    if np.linalg.det(matrix[:3, :3]) < 0:  # a mirror turns every face inside out
        faces = faces[:, ::-1]
    uv, colour = np.zeros((len(faces), 3, 2)), np.ones((len(faces), 3, 3))
    image, double_sided = None, False
    visual = mesh.visual
    if visual.kind == "texture":
        material = visual.material
        image = picture_of(visual)
        factor = material.main_color if image is None else getattr(material, "baseColorFactor", None)
        if factor is not None:
            colour = colour * np.asarray(factor, float)[:3] / 255.0
        double_sided = bool(getattr(material, "doubleSided", False))
        if visual.uv is not None and np.isfinite(visual.uv).all():
            uv = np.asarray(visual.uv)[faces]
        vertex_colour = visual.vertex_attributes.get("color")
        if vertex_colour is not None:
            colour = colour * _unit(np.asarray(vertex_colour))[faces][..., :3]
    elif visual.kind == "vertex":
        colour = np.asarray(visual.vertex_colors)[faces][..., :3] / 255.0
    elif visual.kind == "face":
        colour = np.repeat(np.asarray(visual.face_colors)[:, None, :3] / 255.0, 3, axis=1)
    return _Part(vertices, faces, uv, image, colour, double_sided)


def _unit(colour: Array) -> Array:
    return colour / 255.0 if colour.dtype == np.uint8 else colour


def _textures(parts: list[_Part]) -> tuple[tuple[Array, ...], Array]:
    """The distinct images, a white texel first for parts without one, and each face's index."""
    images: list[Array] = [np.full((1, 1, 3), 255, np.uint8)]
    known: dict[int, int] = {}
    index = []
    for part in parts:
        slot = 0
        if part.image is not None:
            slot = known.setdefault(id(part.image), len(images))
            if slot == len(images):
                images.append(np.asarray(part.image.convert("RGB")))
        index.append(np.full(len(part.faces), slot, np.int32))
    return tuple(images), np.concatenate(index)


def _colour_map(parts: list[_Part]) -> tuple[Array, Array]:
    """Corner colours as a light map: 2x2 texels a face, whose bilinear blend is the plane through its corners."""
    colour = np.concatenate([part.colour for part in parts])
    if (colour == 1).all():
        return np.full((1, 1, 3), LIGHT_ONE, np.uint8), np.full((*colour.shape[:2], 2), 0.5, np.float32)
    patches = np.empty((len(colour), 2, 2, 3))
    patches[:, 0, 0], patches[:, 0, 1], patches[:, 1, 0] = colour[:, 0], colour[:, 1], colour[:, 2]
    patches[:, 1, 1] = colour[:, 1] + colour[:, 2] - colour[:, 0]
    unique, which = np.unique(np.round(patches.clip(0, 1) * LIGHT_ONE).astype(np.uint8), axis=0, return_inverse=True)
    columns = int(np.ceil(np.sqrt(len(unique))))
    rows = -(-len(unique) // columns)
    sheet = np.zeros((rows * columns, 2, 2, 3), np.uint8)
    sheet[: len(unique)] = unique
    light = sheet.reshape(rows, columns, 2, 2, 3).transpose(0, 2, 1, 3, 4).reshape(rows * 2, columns * 2, 3)
    corner = np.stack([which.ravel() % columns, which.ravel() // columns], axis=-1) * 2.0 + 0.5
    light_uv = corner[:, None] + np.array([[0, 0], [1, 0], [0, 1]])
    return light, light_uv.astype(np.float32)
