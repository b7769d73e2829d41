"""Check the references of a scene before habitat-sim loads it: a missing one would end the process.

habitat-sim 0.3.3 finds things by their handles, the paths of their config files, and takes the first handle that
contains the name it was given, upper and lower case alike (`MetadataMediator::getSceneInstanceAttributesByName`).
"""

import json
from pathlib import Path
from typing import Any

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.fields import read_object
from embodia.envs.homes.files.load import STAGE_CONFIG, Up, is_y_up

SCENE_INSTANCE, SEMANTIC_CONFIG = ".scene_instance.json", ".semantic_config.json"
NO_STAGE = "none"  # habitat-sim's own empty scene


def check_scene(scene: str, dataset: str = "default", up: Up | None = None) -> None:
    """Check everything that `scene` refers to. Raises SceneError that names file and field of a missing reference.

    `scene` is a scene file, or the name of a scene of the data set whose `.scene_dataset_config.json` is `dataset`.
    """
    if dataset != "default":
        _check_in_dataset(scene, Path(dataset))
    elif not Path(scene).is_file():
        raise SceneError(f"scene {scene!r}: no such file, so habitat-sim cannot load it.")
    else:
        _check_file(Path(scene), up)


def _beside(scene: Path, extension: str) -> Path:
    """The config file that habitat-sim looks for: two extensions of the scene's name are replaced."""
    return scene.with_name(Path(Path(scene.name).stem).stem + extension)


def _check_file(scene: Path, up: Up | None) -> None:
    """Check a scene file in habitat-sim's default data set, which is empty."""
    instance = _beside(scene, SCENE_INSTANCE)
    if instance.is_file():
        name = str(_stage_of(instance).get("template_name", ""))
        if not any(Path(name + extension).is_file() for extension in ("", STAGE_CONFIG)):
            raise SceneError(
                f"{instance}: stage_instance.template_name {name!r} is no stage that habitat-sim finds without a "
                f"scene data set, and it would end the process. Move {instance.name} into a folder of its own, and "
                "name it in a .scene_dataset_config.json."
            )
    config = _beside(scene, STAGE_CONFIG)
    if config.is_file():
        _check_stage(config)
    elif scene.suffix.lower() == ".glb" and is_y_up(scene, up):
        content = {"render_asset": scene.name, "up": [0, 1, 0], "front": [0, 0, -1]}
        raise SceneError(
            f"{scene}: habitat-sim reads a .glb without a stage config as z-up, and this one counts as y-up. Write "
            f"{json.dumps(content)} to {config.name} beside it, or pass up='z' (--up z) if it is z-up."
        )


def _check_in_dataset(scene: str, dataset: Path) -> None:
    top = _read(dataset)
    stages = _files(dataset, top, "stages", STAGE_CONFIG)
    instances = _files(dataset, top, "scene_instances", SCENE_INSTANCE)
    semantics = _files(dataset, top, "semantic_scene_descriptor_instances", SEMANTIC_CONFIG)
    found = _matches(scene, instances)
    _only_one(found, f"{dataset}: scene {scene!r}", "scene instances")
    if found:
        _check_instance(found[0], stages, semantics)
        return
    found = _matches(scene, stages)
    _only_one(found, f"{dataset}: scene {scene!r}", "stages")
    if found:
        _check_stage(found[0])
    elif Path(scene).is_file():
        _check_file(Path(scene), "z")  # its frame follows from the data set
    else:
        raise SceneError(
            f"{dataset} has no scene {scene!r}, and there is no such file. It has {_names(instances or stages)}."
        )


def _check_instance(instance: Path, stages: list[Path], semantics: list[Path]) -> None:
    name = str(_stage_of(instance).get("template_name", ""))
    found = [] if not name else _matches(name, stages)
    if not found and name.lower() != NO_STAGE:
        raise SceneError(
            f"{instance}: stage_instance.template_name {name!r} is none of the data set's stages: {_names(stages)}."
        )
    _only_one(found, f"{instance}: stage_instance.template_name {name!r}", "stages")
    for stage in found:
        _check_stage(stage)
    semantic = str(_read(instance).get("semantic_scene_instance", ""))
    if not semantic:
        return
    found = _matches(semantic, semantics)
    if len(found) != 1:
        raise SceneError(
            f"{instance}: semantic_scene_instance {semantic!r} matches {len(found)} of the data set's semantic "
            f"configs: {_names(semantics)}."
        )
    _check_assets(found[0], ("semantic_asset", "semantic_descriptor_filename"))


def _stage_of(instance: Path) -> dict[str, Any]:
    stage = _read(instance).get("stage_instance")
    if not isinstance(stage, dict):
        raise SceneError(f'{instance}: field "stage_instance" must be an object with a "template_name".')
    return stage


def _check_stage(config: Path) -> None:
    if config.name.endswith(STAGE_CONFIG):
        if not _read(config).get("render_asset"):
            raise SceneError(f'{config}: field "render_asset" is missing, so habitat-sim has nothing to draw.')
        fields = ("render_asset", "collision_asset", "semantic_asset", "semantic_descriptor_filename", "nav_asset")
        _check_assets(config, fields)


def _check_assets(config: Path, fields: tuple[str, ...]) -> None:
    content = _read(config)
    for name in fields:
        asset = content.get(name)
        if asset and not (config.parent / str(asset)).is_file() and not Path(str(asset)).is_file():
            raise SceneError(f"{config}: {name} {str(asset)!r} does not exist beside it.")


def _files(dataset: Path, top: dict[str, Any], cell: str, extension: str) -> list[Path]:
    """Return the files that a data set lists under `cell`: configs, or scene files."""
    paths = top.get(cell, {}).get("paths", {}) if isinstance(top.get(cell, {}), dict) else None
    if not isinstance(paths, dict) or not all(isinstance(patterns, list) for patterns in paths.values()):
        raise SceneError(f'{dataset}: field "{cell}" must be an object with "paths", lists of patterns by extension.')
    found: list[Path] = []
    for kind, patterns in paths.items():
        ending = extension if kind == ".json" else kind
        for pattern in map(str, patterns):
            for path in _glob(dataset.parent, pattern):
                inside = sorted(path.glob(f"*{ending}")) if path.is_dir() else [path]
                found += [each for each in inside if each.name.endswith(ending)]
    return found


def _glob(folder: Path, pattern: str) -> list[Path]:
    if pattern.strip("/.") == "":
        return [folder / pattern]
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError):  # an absolute pattern, or none at all
        path = Path(pattern)
        return [path] if path.exists() else []


def _matches(name: str, handles: list[Path]) -> list[Path]:
    return [handle for handle in handles if name.lower() in str(handle).lower()]


def _only_one(found: list[Path], what: str, kind: str) -> None:
    """habitat-sim would take the first of several matches."""
    if len(found) > 1:
        raise SceneError(f"{what} matches several {kind}: {_names(found)}. Write more of the name.")


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:6]) or "none"


def _read(path: Path) -> dict[str, Any]:
    return read_object(path, SceneError)
