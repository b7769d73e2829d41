"""Habitat's episode data sets: PointNav-v1, ObjectNav-v1 and InstanceImageNav-v1, read and written as gzip JSON.

Layout: `{split}/{split}.json.gz` and optionally `{split}/content/{scene}.json.gz`. Positions are [x, y, z] in metres,
rotations [x, y, z, w]. Source: habitat-lab 0.3, `habitat/datasets`.
"""

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embodia.envs.homes.files.fields import Fields, read_json

HM3D_CATEGORIES = {"chair": 0, "bed": 1, "plant": 2, "toilet": 3, "tv_monitor": 4, "sofa": 5}
SCENE_PREFIX = "data/scene_datasets/"
CONTENT_PATH = "{data_path}/content/{scene}.json.gz"

DatasetKind = Literal["PointNav-v1", "ObjectNav-v1", "InstanceImageNav-v1"]
Vector = tuple[float, ...]


class EpisodeError(ValueError):
    """An episode file that cannot be used; the message names file, episode and field, and what to do."""


class Unreachable(EpisodeError):
    """An episode whose goal cannot be reached, or a scene that offers no episode."""


@dataclass(frozen=True)
class ViewPoint:
    """A place from which an object can be seen, and the share of the image it fills."""

    position: Vector
    rotation: Vector = (0.0, 0.0, 0.0, 1.0)
    iou: float = 0.0


@dataclass(frozen=True)
class ImageGoal:
    """An image of a goal: camera pose in the world, horizontal field of view [deg] and size (h, w)."""

    position: Vector
    rotation: Vector
    hfov: float
    image_dimensions: tuple[int, int]
    frame_coverage: float = 0.0
    object_coverage: float = 0.0


@dataclass(frozen=True)
class Goal:
    """A goal: a point, or an object with the places at which it counts as reached."""

    position: Vector
    radius: float | None = None  # [m]
    object_id: int | None = None
    object_name: str | None = None
    object_name_id: int | None = None
    object_category: str | None = None
    room_id: int | str | None = None
    room_name: str | None = None
    view_points: tuple[ViewPoint, ...] = ()
    image_goals: tuple[ImageGoal, ...] = ()
    object_surface_area: float | None = None  # [m2]


@dataclass(frozen=True)
class Episode:
    """One episode: a start and its goals in one scene."""

    episode_id: str
    scene_id: str
    start_position: Vector
    start_rotation: Vector
    goals: tuple[Goal, ...] = ()
    object_category: str | None = None
    goal_object_id: int | None = None
    goal_image_id: int | None = None
    scene_dataset_config: str = "default"
    additional_obj_config_paths: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    start_room: str | None = None
    shortest_paths: Any = None


@dataclass(frozen=True)
class EpisodeDataset:
    """Episodes of one split; `category_ids` names the ObjectNav categories' ids."""

    episodes: tuple[Episode, ...]
    kind: DatasetKind = "PointNav-v1"
    category_ids: dict[str, int] = field(default_factory=dict)
    annotation_ids: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def scene_ids(self) -> tuple[str, ...]:
        """The scenes in order of first appearance."""
        return tuple(dict.fromkeys(episode.scene_id for episode in self.episodes))


def read_episodes(
    path: str | Path, content_scenes: Sequence[str] = ("*",), kind: DatasetKind | None = None
) -> EpisodeDataset:
    """Read a split file and its content files (all, or only the named scenes), `.json.gz` or `.json`.

    The kind follows from the file's fields unless given. Raises EpisodeError naming file, episode and field.
    """
    path = Path(path)
    top = _read_json(path)
    parts = [(path, top)] + [(file, _read_json(file)) for file in _content_files(path, top, content_scenes)]
    kind = kind or _kind_of(parts)
    episodes: list[Episode] = []
    for file, part in parts:
        episodes += _read_part(file, part, kind)
    category_ids, annotation_ids = _category_ids(path, parts)
    if not episodes:
        raise EpisodeError(f"{path} holds no episodes{_content_hint(path, content_scenes)}.")
    return EpisodeDataset(tuple(episodes), kind, category_ids, annotation_ids)


def _content_hint(path: Path, content_scenes: Sequence[str]) -> str:
    return f" for scenes {list(content_scenes)}" if (path.parent / "content").is_dir() else ", and has no content/"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise EpisodeError(f"No episode file at {path}. Give the path of a `{{split}}.json.gz`.")
    top = read_json(path, EpisodeError)
    if not isinstance(top, dict) or not isinstance(top.get("episodes"), list):
        raise EpisodeError(f'{path}: the top level must be an object with a list "episodes".')
    return top


def _content_files(path: Path, top: dict[str, Any], wanted: Sequence[str]) -> list[Path]:
    """The content files beside a split file, sorted; `content_scenes_path` may move them."""
    template = Fields(top, str(path), EpisodeError).text("content_scenes_path") or CONTENT_PATH
    if "{scene}" not in template or "\0" in template:
        raise EpisodeError(f'{path}: field "content_scenes_path" is {template!r}; it must contain {{scene}}.')
    pattern = template.replace("{data_path}", str(path.parent))
    folder = Path(pattern).parent
    if not folder.is_dir():
        return []
    suffix = Path(pattern).name.replace("{scene}", "")
    names = sorted(p.name.removesuffix(suffix) for p in folder.iterdir() if p.name.endswith(suffix))
    if "*" not in wanted:
        missing = sorted(set(wanted) - set(names))
        if missing:
            raise EpisodeError(f"{folder} has no episodes of {missing}; it has {names[:10]}.")
        names = [name for name in names if name in wanted]
    return [folder / f"{name}{suffix}" for name in names]


def _kind_of(parts: Sequence[tuple[Path, dict[str, Any]]]) -> DatasetKind:
    if any(part.get("goals_by_category") or "category_to_task_category_id" in part for _, part in parts):
        return "ObjectNav-v1"
    if any(isinstance(part.get("goals"), dict) for _, part in parts):
        return "InstanceImageNav-v1"
    return "PointNav-v1"


def _category_ids(path: Path, parts: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[dict[str, int], dict[str, int]]:
    """Ids of the categories in the task, and in the scenes' annotation."""
    file, maps = next(((f, part) for f, part in parts if "category_to_task_category_id" in part), (path, {}))
    top = Fields(maps, str(file), EpisodeError)
    annotation = "category_to_scene_annotation_category_id"
    if annotation not in top:
        annotation = "category_to_mp3d_category_id"
    task_ids, annotation_ids = _ids(top, "category_to_task_category_id"), _ids(top, annotation)
    if annotation_ids and set(annotation_ids) != set(task_ids):
        odd = sorted(set(annotation_ids) ^ set(task_ids))
        raise EpisodeError(f"{path}: its two category maps name different categories: {odd}.")
    return task_ids, annotation_ids


def _ids(top: Fields, name: str) -> dict[str, int]:
    ids = Fields(top.mapping(name), f"{top.where}, {name}", EpisodeError)
    return {category: _at_least_0(ids, category) for category in ids.raw}


def _at_least_0(fields: Fields, name: str) -> int:
    """A whole number that counts or numbers something. Required."""
    fields.need(name)
    value = fields.integer(name)
    if value is None or not 0 <= value < 2**31:
        raise fields.refuse(name, "a whole number of at least 0")
    return value


def _read_part(file: Path, part: dict[str, Any], kind: DatasetKind) -> list[Episode]:
    shared = _shared_goals(Fields(part, str(file), EpisodeError), kind)
    episodes = []
    for index, raw in enumerate(part["episodes"]):
        where = f"{file}, episode {index}"
        episode = _episode(Fields(raw, where, EpisodeError, "an episode"))
        if kind == "ObjectNav-v1":
            episode = _with_category_goals(replace(episode, episode_id=str(index)), shared, where)
        elif kind == "InstanceImageNav-v1":
            episode = _with_instance_goal(episode, shared, where)
        if not episode.goals:
            raise EpisodeError(f"{where}: it has no goals.")
        episodes.append(episode)
    return episodes


def _shared_goals(part: Fields, kind: DatasetKind) -> dict[str, tuple[Goal, ...]]:
    """Goals that many episodes share, by Habitat's key."""
    if kind == "InstanceImageNav-v1":
        return {
            key: (_goal(Fields(raw, f"{part.where}, goals[{key!r}]", EpisodeError)),)
            for key, raw in part.mapping("goals").items()
        }
    by_category = Fields(part.mapping("goals_by_category"), f"{part.where}, goals_by_category", EpisodeError)
    return {key: tuple(_goal(goal) for goal in by_category.objects(key)) for key in by_category.raw}


def goals_key(episode: Episode) -> str:
    """The key of an ObjectNav episode's goals: file name of the scene, extension kept, and category."""
    return f"{Path(episode.scene_id).name}_{episode.object_category}"


def instance_key(episode: Episode) -> str:
    """The key of an InstanceImageNav episode's goal: the scene's bare name and the goal object's id."""
    name = re.sub(r"(\.basis)?\.glb$", "", Path(episode.scene_id).name)
    return f"{name}_{episode.goal_object_id}"


def _with_category_goals(episode: Episode, shared: dict[str, tuple[Goal, ...]], where: str) -> Episode:
    if episode.object_category is None:
        raise EpisodeError(f'{where}: field "object_category" is missing.')
    key = goals_key(episode)
    if episode.goals:  # old files carry them inline; the first episode of a key holds for all
        return replace(episode, goals=shared.setdefault(key, episode.goals))
    if key not in shared:
        raise EpisodeError(f'{where}: "goals_by_category" has no {key!r}; it has {sorted(shared)[:6]}.')
    return replace(episode, goals=shared[key])


def _with_instance_goal(episode: Episode, shared: dict[str, tuple[Goal, ...]], where: str) -> Episode:
    if episode.goals:
        return episode
    key = instance_key(episode)
    if key not in shared:
        raise EpisodeError(f'{where}: "goals" has no {key!r}; it has {sorted(shared)[:6]}.')
    image = episode.goal_image_id or 0
    if not 0 <= image < len(shared[key][0].image_goals):
        raise EpisodeError(f"{where}: goal_image_id {image} of {len(shared[key][0].image_goals)} goal pictures.")
    return replace(episode, goals=shared[key])


def _episode(raw: Fields) -> Episode:
    episode_id, scene_id = raw.name("episode_id"), raw.name("scene_id")
    named = Fields(raw.raw, f"{raw.where} ({episode_id[:40]})", EpisodeError)
    paths = named.values("additional_obj_config_paths")
    if not all(isinstance(path, str) for path in paths):
        raise named.refuse("additional_obj_config_paths", "a list of paths")
    return Episode(
        episode_id=episode_id,
        scene_id=scene_id,
        start_position=named.vector("start_position", 3),
        start_rotation=_rotation(named),
        goals=tuple(_goal(goal) for goal in named.objects("goals")),
        object_category=named.text("object_category"),
        goal_object_id=named.integer("goal_object_id"),
        goal_image_id=named.integer("goal_image_id"),
        scene_dataset_config=named.text("scene_dataset_config") or "default",
        additional_obj_config_paths=tuple(paths),
        info=dict(named.mapping("info")),
        start_room=raw.raw.get("start_room"),
        shortest_paths=raw.raw.get("shortest_paths"),
    )


def _rotation(fields: Fields, name: str = "start_rotation") -> Vector:
    """A unit quaternion [x, y, z, w]. Required."""
    rotation = fields.vector(name, 4)
    norm = float(np.linalg.norm(rotation))
    if abs(norm - 1) > 1e-2:
        raise EpisodeError(f"{fields.where}: a rotation must be a unit quaternion [x, y, z, w], not {list(rotation)}.")
    return tuple(value / norm for value in rotation) if abs(norm - 1) > 1e-6 else rotation


def _goal(raw: Fields) -> Goal:
    room = raw.raw.get("room_id")
    return Goal(
        position=raw.vector("position", 3),
        radius=raw.number("radius", 0.0) if "radius" in raw else None,
        object_id=raw.integer("object_id"),
        object_name=raw.text("object_name"),
        object_name_id=raw.integer("object_name_id"),
        object_category=raw.text("object_category"),
        room_id=room if isinstance(room, str) else raw.integer("room_id"),
        room_name=raw.text("room_name"),
        view_points=tuple(_view_point(view) for view in raw.objects("view_points")),
        image_goals=tuple(_image_goal(image) for image in raw.objects("image_goals")),
        object_surface_area=raw.number("object_surface_area", 0.0) if "object_surface_area" in raw else None,
    )


def _view_point(raw: Fields) -> ViewPoint:
    if not isinstance(raw.raw.get("agent_state"), dict):
        raise EpisodeError(f'{raw.where}: a view point needs an "agent_state" with position and rotation.')
    state = Fields(raw.raw["agent_state"], f"{raw.where}, agent_state", EpisodeError)
    rotation = state.vector("rotation", 4) if "rotation" in state else (0.0, 0.0, 0.0, 1.0)
    return ViewPoint(state.vector("position", 3), rotation, raw.number("iou", 0.0))


def _image_goal(raw: Fields) -> ImageGoal:
    height, width = (int(size) for size in raw.vector("image_dimensions", 2))
    hfov = raw.number("hfov", 90.0)
    if min(height, width) < 1:
        raise raw.refuse("image_dimensions", "two sizes of at least one pixel")
    if not 0 < hfov < 180:
        raise raw.refuse("hfov", "an angle between 0 and 180 degrees")
    return ImageGoal(
        position=raw.vector("position", 3),
        rotation=_rotation(raw, "rotation"),
        hfov=hfov,
        image_dimensions=(height, width),
        frame_coverage=raw.number("frame_coverage", 0.0),
        object_coverage=raw.number("object_coverage", 0.0),
    )


def write_episodes(path: str | Path, dataset: EpisodeDataset, by_scene: bool = False) -> None:
    """Write a data set as Habitat reads it; `by_scene` puts each scene's episodes in `content/{scene}.json.gz`.

    Written aside and renamed, so that an interrupted run leaves no torn file.
    """
    path = Path(path)
    groups = {scene: [e for e in dataset.episodes if e.scene_id == scene] for scene in dataset.scene_ids}
    if by_scene:
        names = {scene: Path(scene).name.split(".")[0] for scene in groups}
        if len(set(names.values())) != len(names):
            raise EpisodeError(f"{path}: two scenes share a file name; write them without by_scene.")
        for scene, episodes in groups.items():
            _write_json(path.parent / "content" / f"{names[scene]}.json.gz", _part(dataset, episodes))
    _write_json(path, _part(dataset, [] if by_scene else dataset.episodes))


def _write_json(path: Path, top: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    text = json.dumps(top).encode()
    # mtime 0: the same episodes give the same bytes
    aside.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    aside.replace(path)


def _part(dataset: EpisodeDataset, episodes: Iterable[Episode]) -> dict[str, Any]:
    episodes = list(episodes)
    top: dict[str, Any] = {"episodes": [_episode_json(episode, dataset.kind) for episode in episodes]}
    if dataset.kind == "ObjectNav-v1":
        annotation_ids = dataset.annotation_ids or dataset.category_ids
        top["category_to_task_category_id"] = dataset.category_ids
        top["category_to_scene_annotation_category_id"] = annotation_ids
        top["goals_by_category"] = {goals_key(e): [_goal_json(g) for g in e.goals] for e in episodes}
    if dataset.kind == "InstanceImageNav-v1":
        top["goals"] = {instance_key(e): _goal_json(e.goals[0]) for e in episodes}
    return top


def _episode_json(episode: Episode, kind: DatasetKind) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "episode_id": episode.episode_id,
        "scene_id": episode.scene_id,
        "scene_dataset_config": episode.scene_dataset_config,
        "additional_obj_config_paths": list(episode.additional_obj_config_paths),
        "start_position": list(episode.start_position),
        "start_rotation": list(episode.start_rotation),
        "info": episode.info,
        "goals": [_goal_json(goal) for goal in episode.goals] if kind == "PointNav-v1" else [],
        "start_room": episode.start_room,
        "shortest_paths": episode.shortest_paths,
    }
    if kind != "PointNav-v1":
        raw["object_category"] = episode.object_category
    if kind == "InstanceImageNav-v1":
        raw["goal_object_id"], raw["goal_image_id"] = episode.goal_object_id, episode.goal_image_id
    return raw


def _goal_json(goal: Goal) -> dict[str, Any]:
    raw: dict[str, Any] = {"position": list(goal.position), "radius": goal.radius}
    if goal.object_id is None:
        return raw
    for name in ("object_id", "object_name", "object_name_id", "object_category", "room_id", "room_name"):
        raw[name] = getattr(goal, name)
    raw["view_points"] = [
        {"agent_state": {"position": list(v.position), "rotation": list(v.rotation)}, "iou": v.iou}
        for v in goal.view_points
    ]
    if goal.image_goals:
        raw["object_surface_area"] = goal.object_surface_area
        raw["image_goals"] = [{**vars(image), "position": list(image.position)} for image in goal.image_goals]
    return raw


def resolve_scene(episode: Episode, scenes_dir: str | Path | None, source: str = "the episode") -> Path:
    """The scene file of an episode as Habitat finds it: `data/scene_datasets/` cut off, joined to `scenes_dir`.

    Raises EpisodeError if there is no such file, or if the name leads out of `scenes_dir`.
    """
    relative = episode.scene_id.removeprefix(SCENE_PREFIX)
    path = Path(relative) if scenes_dir is None else Path(scenes_dir) / relative
    # By the names alone: data sets are often links to another disk.
    if scenes_dir is not None and not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(scenes_dir)):
        raise EpisodeError(
            f"{source} {episode.episode_id!r} names scene {episode.scene_id!r}, which lies outside scenes_dir "
            f"{str(scenes_dir)!r}. Scenes are read from that folder only."
        )
    if "\0" in relative or not path.is_file():
        hint = "set scenes_dir to the folder of the scene data sets" if scenes_dir is None else "download it there"
        raise EpisodeError(
            f"{source} {episode.episode_id!r} names scene {episode.scene_id!r}, not found at {path}; {hint}."
        )
    return path


@dataclass
class EpisodeIterator:
    """Habitat's order of episodes: shuffled, grouped by scene, around again, and a forced change of scene.

    For evaluation use cycle=False, shuffle=False. `count_step` after every simulator step.
    """

    episodes: Sequence[Episode]
    rng: np.random.Generator
    cycle: bool = True
    shuffle: bool = True
    group_by_scene: bool = True
    max_scene_repeat_steps: int = 10000  # -1 = no limit
    step_repetition_range: float = 0.2

    def __post_init__(self) -> None:
        self._order = list(range(len(self.episodes)))
        self._next = 0
        self.index = 0  # of the episode last given
        self._steps_in_scene, self._scene = 0, ""
        self._arrange()
        self._draw_limit()

    def __iter__(self) -> Iterator[Episode]:
        return self

    def __next__(self) -> Episode:
        """Raises StopIteration when all are done and `cycle` is off."""
        if self._steps_in_scene >= self._limit:
            self._switch_scene()
        if self._next >= len(self._order):
            if not self.cycle:
                raise StopIteration
            self._next = 0
            self._order.sort()
            self._arrange()
        self.index = self._order[self._next]
        episode = self.episodes[self.index]
        self._next += 1
        if episode.scene_id != self._scene:
            self._scene, self._steps_in_scene = episode.scene_id, 0
        return episode

    def count_step(self) -> None:
        self._steps_in_scene += 1

    def _arrange(self) -> None:
        if self.shuffle:
            self.rng.shuffle(self._order)
        if self.group_by_scene:
            first: dict[str, int] = {}
            for place, index in enumerate(self._order):
                first.setdefault(self.episodes[index].scene_id, place)
            self._order.sort(key=lambda index: first[self.episodes[index].scene_id])

    def _switch_scene(self) -> None:
        """Move the remaining episodes of the current scene to the end."""
        rest = self._order[self._next :]
        here = [index for index in rest if self.episodes[index].scene_id == self._scene]
        self._order[self._next :] = [index for index in rest if index not in set(here)] + here
        self._steps_in_scene = 0
        self._draw_limit()

    def _draw_limit(self) -> None:
        if self.max_scene_repeat_steps < 0:
            self._limit: float = np.inf
            return
        low = round(self.max_scene_repeat_steps * (1 - self.step_repetition_range))
        high = round(self.max_scene_repeat_steps * (1 + self.step_repetition_range))
        self._limit = int(self.rng.integers(low, high + 1))

    def get_state(self) -> dict[str, Any]:
        return {
            "order": list(self._order),
            "next": self._next,
            "index": self.index,
            "steps": self._steps_in_scene,
            "scene": self._scene,
            "limit": float(self._limit),
            "rng": self.rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._order, self._next, self.index = list(state["order"]), state["next"], state["index"]
        self._steps_in_scene, self._scene, self._limit = state["steps"], state["scene"], state["limit"]
        self.rng.bit_generator.state = state["rng"]
