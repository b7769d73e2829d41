"""Habitat's episode data sets: PointNav-v1, ObjectNav-v1 and InstanceImageNav-v1, read and written as gzip JSON.

Layout: `{split}/{split}.json.gz` and optionally `{split}/content/{scene}.json.gz`. Positions are [x, y, z] in metres,
rotations [x, y, z, w]. Source: habitat-lab 0.3, `habitat/datasets`.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

HM3D_CATEGORIES = {"chair": 0, "bed": 1, "plant": 2, "toilet": 3, "tv_monitor": 4, "sofa": 5}
SCENE_PREFIX = "data/scene_datasets/"
CONTENT_PATH = "{data_path}/content/{scene}.json.gz"

DatasetKind = Literal["PointNav-v1", "ObjectNav-v1", "InstanceImageNav-v1"]
Vector = tuple[float, ...]


class EpisodeError(ValueError):
    """An episode file that cannot be used; the message names file, episode and field, and what to do."""


@dataclass(frozen=True)
class ViewPoint:
    """A place from which an object can be seen, and how much of the picture it fills."""

    position: Vector
    rotation: Vector = (0.0, 0.0, 0.0, 1.0)
    iou: float = 0.0


@dataclass(frozen=True)
class ImageGoal:
    """A picture of a goal: the camera's pose in the world, its horizontal angle of view [deg] and its size (h, w)."""

    position: Vector
    rotation: Vector
    hfov: float
    image_dimensions: tuple[int, int]
    frame_coverage: float = 0.0
    object_coverage: float = 0.0


@dataclass(frozen=True)
class Goal:
    """Where to go: a point, or an object with the places from which it counts as reached."""

    position: Vector
    radius: float | None = None  # [m]
    object_id: int | None = None
    object_name: str | None = None
    object_name_id: int | None = None
    object_category: str | None = None
    room_id: int | None = None
    room_name: str | None = None
    view_points: tuple[ViewPoint, ...] = ()
    image_goals: tuple[ImageGoal, ...] = ()
    object_surface_area: float | None = None  # [m2]


@dataclass(frozen=True)
class Episode:
    """One task to carry out in one scene."""

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
    maps = next((part for _, part in parts if "category_to_task_category_id" in part), {})
    category_ids = dict(maps.get("category_to_task_category_id", {}))
    annotation_ids = dict(
        maps.get("category_to_scene_annotation_category_id", maps.get("category_to_mp3d_category_id", {}))
    )
    if annotation_ids and set(annotation_ids) != set(category_ids):
        odd = sorted(set(annotation_ids) ^ set(category_ids))
        raise EpisodeError(f"{path}: its two category maps name different categories: {odd}.")
    if not episodes:
        raise EpisodeError(f"{path} holds no episodes{_content_hint(path, content_scenes)}.")
    return EpisodeDataset(tuple(episodes), kind, category_ids, annotation_ids)


def _content_hint(path: Path, content_scenes: Sequence[str]) -> str:
    return f" for scenes {list(content_scenes)}" if (path.parent / "content").is_dir() else ", and has no content/"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise EpisodeError(f"No episode file at {path}. Give the path of a `{{split}}.json.gz`.") from None
    except OSError as error:
        raise EpisodeError(f"{path} cannot be read: {error}.") from error
    try:
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        top = json.loads(text)
    except (OSError, EOFError, ValueError) as error:
        raise EpisodeError(f"{path} is not a whole gzip JSON file ({error}). Download or write it again.") from error
    if not isinstance(top, dict) or not isinstance(top.get("episodes"), list):
        raise EpisodeError(f'{path}: the top level must be an object with a list "episodes".')
    return top


def _content_files(path: Path, top: dict[str, Any], wanted: Sequence[str]) -> list[Path]:
    """The content files beside a split file, sorted; `content_scenes_path` may move them."""
    template = top.get("content_scenes_path", CONTENT_PATH)
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


def _read_part(file: Path, part: dict[str, Any], kind: DatasetKind) -> list[Episode]:
    shared = _shared_goals(file, part, kind)
    episodes = []
    for index, raw in enumerate(part["episodes"]):
        where = f"{file}, episode {index}"
        episode = _episode(raw, where)
        if kind == "ObjectNav-v1":
            episode = _with_category_goals(replace(episode, episode_id=str(index)), shared, where)
        elif kind == "InstanceImageNav-v1":
            episode = _with_instance_goal(episode, shared, where)
        if not episode.goals:
            raise EpisodeError(f"{where}: it has no goals.")
        episodes.append(episode)
    return episodes


def _shared_goals(file: Path, part: dict[str, Any], kind: DatasetKind) -> dict[str, tuple[Goal, ...]]:
    """Goals that many episodes share, by Habitat's key."""
    if kind == "InstanceImageNav-v1":
        named = part.get("goals", {})
        return {key: (_goal(raw, f"{file}, goals[{key!r}]"),) for key, raw in named.items()}
    by_category = part.get("goals_by_category", {})
    return {
        key: tuple(_goal(raw, f"{file}, goals_by_category[{key!r}][{i}]") for i, raw in enumerate(goals))
        for key, goals in by_category.items()
    }


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
    if image >= len(shared[key][0].image_goals):
        raise EpisodeError(f"{where}: goal_image_id {image} of {len(shared[key][0].image_goals)} goal pictures.")
    return replace(episode, goals=shared[key])


def _episode(raw: Any, where: str) -> Episode:
    if not isinstance(raw, dict):
        raise EpisodeError(f"{where}: an episode must be an object, not {type(raw).__name__}.")
    for name in ("episode_id", "scene_id"):
        if name not in raw:
            raise EpisodeError(f'{where}: field "{name}" is missing.')
    where = f"{where} ({raw['episode_id']})"
    return Episode(
        episode_id=str(raw["episode_id"]),
        scene_id=str(raw["scene_id"]),
        start_position=_vector(raw, "start_position", 3, where),
        start_rotation=_unit(_vector(raw, "start_rotation", 4, where), where),
        goals=tuple(_goal(goal, f"{where}, goals[{i}]") for i, goal in enumerate(raw.get("goals") or ())),
        object_category=raw.get("object_category"),
        goal_object_id=_integer(raw.get("goal_object_id")),
        goal_image_id=_integer(raw.get("goal_image_id")),
        scene_dataset_config=raw.get("scene_dataset_config") or "default",
        additional_obj_config_paths=tuple(raw.get("additional_obj_config_paths") or ()),
        info=dict(raw.get("info") or {}),
        start_room=raw.get("start_room"),
        shortest_paths=raw.get("shortest_paths"),
    )


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


def _vector(raw: dict[str, Any], name: str, length: int, where: str) -> Vector:
    try:
        vector = tuple(float(value) for value in raw[name])
    except KeyError:
        raise EpisodeError(f'{where}: field "{name}" is missing.') from None
    except (TypeError, ValueError):
        raise EpisodeError(f'{where}: field "{name}" is {raw[name]!r}; it must be {length} numbers.') from None
    if len(vector) != length or not np.isfinite(vector).all():
        raise EpisodeError(f'{where}: field "{name}" is {raw[name]!r}; it must be {length} finite numbers.')
    return vector


def _unit(rotation: Vector, where: str) -> Vector:
    norm = float(np.linalg.norm(rotation))
    if abs(norm - 1) > 1e-2:
        raise EpisodeError(f"{where}: a rotation must be a unit quaternion [x, y, z, w], not {list(rotation)}.")
    return tuple(value / norm for value in rotation) if abs(norm - 1) > 1e-6 else rotation


def _goal(raw: Any, where: str) -> Goal:
    if not isinstance(raw, dict):
        raise EpisodeError(f"{where}: a goal must be an object, not {type(raw).__name__}.")
    plain = ("radius", "object_name", "object_category", "room_id", "room_name", "object_surface_area")
    return Goal(
        position=_vector(raw, "position", 3, where),
        object_id=_integer(raw.get("object_id")),
        object_name_id=_integer(raw.get("object_name_id")),
        view_points=tuple(_view_point(view, where) for view in raw.get("view_points") or ()),
        image_goals=tuple(_image_goal(image, where) for image in raw.get("image_goals") or ()),
        **{name: raw.get(name) for name in plain},
    )


def _view_point(raw: Any, where: str) -> ViewPoint:
    state = raw.get("agent_state") if isinstance(raw, dict) else None
    if not isinstance(state, dict):
        raise EpisodeError(f'{where}: a view point needs an "agent_state" with position and rotation.')
    rotation = _vector(state, "rotation", 4, where) if "rotation" in state else (0.0, 0.0, 0.0, 1.0)
    return ViewPoint(_vector(state, "position", 3, where), rotation, float(raw.get("iou") or 0.0))


def _image_goal(raw: Any, where: str) -> ImageGoal:
    if not isinstance(raw, dict):
        raise EpisodeError(f"{where}: an image goal must be an object, not {type(raw).__name__}.")
    height, width = (int(size) for size in _vector(raw, "image_dimensions", 2, where))
    return ImageGoal(
        position=_vector(raw, "position", 3, where),
        rotation=_unit(_vector(raw, "rotation", 4, where), where),
        hfov=float(raw.get("hfov", 90.0)),
        image_dimensions=(height, width),
        frame_coverage=float(raw.get("frame_coverage") or 0.0),
        object_coverage=float(raw.get("object_coverage") or 0.0),
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

    Raises EpisodeError if there is no such file.
    """
    relative = episode.scene_id.removeprefix(SCENE_PREFIX)
    path = Path(relative) if scenes_dir is None else Path(scenes_dir) / relative
    if not path.is_file():
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
        """The present scene's remaining episodes go to the end."""
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
