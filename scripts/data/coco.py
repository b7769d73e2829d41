"""Labelled images on disk: COCO annotations with dense labels beside them, written as a stream and read back.

images/000000.png    the image
dense/000000.npz     depth, instance, category, intrinsics, camera_to_world: the fields of `LabelledImage`
flow/000000.npz      flow and known: true optical flow to the next image of the episode
instances.json       COCO: boxes, masks (run lengths), 3-D boxes, object ids
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.labels import LabelledImage, optical_flow
from embodia.scripts.mistake import Mistake

Array = NDArray[Any]
JSON_NAME, LINES_NAME = "instances.json", "images.jsonl"


class CocoWriter:
    """Writes labelled images to a folder one at a time; `close` writes the COCO file.

    Until then, the annotations of each image are one line of images.jsonl, so that an interrupted run loses nothing.

    Args:
        folder: Is created.

    Raises:
        Mistake: If the folder holds a labelled data set already.
    """

    def __init__(self, folder: Path):
        if (folder / JSON_NAME).exists() or (folder / LINES_NAME).exists():
            raise Mistake(f"{folder} holds a labelled data set, and data sets are never overwritten; choose another")
        self.folder = folder
        for part in ("images", "dense", "flow"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.lines = open(folder / LINES_NAME, "x")  # noqa: SIM115 (closed by `close`)
        self.categories: dict[str, int] = {}  # ids by name
        self.num_images = self.num_annotations = 0
        self.before: dict[int, tuple[int, LabelledImage]] = {}  # last image of each world

    def add(self, image: LabelledImage, world: int = 0, first: bool = True, **where: Any) -> None:
        """Write an image.

        Args:
            image: The labelled image.
            world: Environment that it comes from.
            first: Whether it begins an episode; otherwise it follows the last image of this world.
            where: Further entries of the image's record (seed, step), as JSON values.
        """
        number = self.num_images
        height, width = image.depth.shape
        name = f"{number:06d}"
        cv2.imwrite(str(self.folder / "images" / f"{name}.png"), np.ascontiguousarray(image.rgb[..., ::-1]))
        np.savez_compressed(
            self.folder / "dense" / f"{name}.npz",
            depth=image.depth,
            instance=image.instance,
            category=image.category,
            intrinsics=image.intrinsics,
            camera_to_world=image.camera_to_world,
        )
        if not first and world in self.before:
            earlier, previous = self.before[world]
            flow, known = optical_flow(previous, image)
            np.savez_compressed(self.folder / "flow" / f"{earlier:06d}.npz", flow=flow, known=known)
        self.before[world] = number, image
        record = {"id": number, "file_name": f"images/{name}.png", "height": height, "width": width, **where}
        self.lines.write(json.dumps({"image": record, "annotations": self._annotations(number, image)}) + "\n")
        self.num_images += 1

    def _annotations(self, number: int, image: LabelledImage) -> list[dict[str, Any]]:
        rows = []
        for thing, box, area in zip(image.visible, image.boxes, image.areas):
            left, top, right, bottom = box.tolist()
            category = self.categories.setdefault(thing.category, len(self.categories) + 1)
            rows.append(
                {
                    "id": self.num_annotations + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(area),
                    "segmentation": run_lengths(image.mask(thing.semantic_id)),
                    "iscrowd": 0,
                    "track_id": thing.semantic_id,
                    "center": thing.center.tolist(),
                    "half_extents": thing.half_extents.tolist(),
                    "rotation": thing.rotation.tolist(),
                }
            )
            self.num_annotations += 1
        return rows

    def close(self) -> Path:
        """Write the COCO file from the lines, without holding them all in memory, and return its path."""
        self.lines.close()
        lines, path = self.folder / LINES_NAME, self.folder / JSON_NAME
        categories = [{"id": i, "name": name} for name, i in self.categories.items()]
        with open(path, "x") as out:
            out.write(f'{{"categories": {json.dumps(categories)},\n"images": [')
            out.writelines(_separated(json.dumps(each["image"]) for each in _records(lines)))
            out.write('],\n"annotations": [')
            out.writelines(_separated(json.dumps(row) for each in _records(lines) for row in each["annotations"]))
            out.write("]}\n")
        lines.unlink()
        return path


def _records(lines: Path) -> Iterator[dict[str, Any]]:
    with open(lines) as file:
        yield from map(json.loads, file)


def _separated(texts: Iterator[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield (",\n" if number else "\n") + text


def run_lengths(mask: Array) -> dict[str, list[int]]:
    """Return COCO's run lengths of a mask (H, W): column by column, the first run outside the mask."""
    flat = np.concatenate([[False], mask.ravel(order="F").astype(bool), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    if len(changes) and changes[-1] == mask.size:
        counts = counts[:-1]
    return {"size": list(mask.shape), "counts": counts.tolist()}


@dataclass(frozen=True)
class CocoImage:
    """One image of a COCO file with its n annotations."""

    id: int
    path: Path
    height: int
    width: int
    boxes: Array  # (n, 4) float64 left, top, right, bottom [pixels]
    labels: Array  # (n,) int64 category ids
    crowd: Array  # (n,) bool
    records: tuple[Mapping[str, Any], ...]  # the n annotations as read
    where: str  # file and image, for messages

    def pixels(self) -> Array:
        """Read the image (H, W, 3) uint8. Raises Mistake if it cannot be read or has another size."""
        found = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if found is None:
            raise Mistake(f"{self.where}: {self.path} is missing or no image")
        if found.shape[:2] != (self.height, self.width):
            raise Mistake(f"{self.where}: {self.path} has {found.shape[:2]} pixels, but {(self.height, self.width)} "
                          "are declared")  # fmt: skip
        return found[..., ::-1]

    def masks(self) -> Array:
        """Return the masks (n, H, W) bool of run lengths or polygons. Raises Mistake if one is missing or malformed."""
        size = (self.height, self.width)
        found = [_mask(row.get("segmentation"), size, f"{self.where}, annotation {k}: segmentation")
                 for k, row in enumerate(self.records)]  # fmt: skip
        return np.stack(found) if found else np.zeros((0, *size), bool)


@dataclass(frozen=True)
class CocoSet:
    """A COCO file: images are read from disk when asked for."""

    path: Path
    categories: Mapping[int, str]
    """Names by id."""
    images: Sequence[Mapping[str, Any]]
    """The images' records as read."""
    _rows: Mapping[int, Sequence[Mapping[str, Any]]]
    skipped: int
    """Number of annotations skipped because their boxes have no area."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> CocoImage:
        record = self.images[index]
        rows = tuple(self._rows.get(record["id"], ()))
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return CocoImage(
            id=record["id"],
            path=self.path.parent / record["file_name"],
            height=record["height"],
            width=record["width"],
            boxes=boxes,
            labels=np.array([row["category_id"] for row in rows], np.int64),
            crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
            records=rows,
            where=f"{self.path}, image {record['id']}",
        )

    def rows_of(self, chosen: Sequence[int]) -> Iterator[Mapping[str, Any]]:
        """Yield the annotations of some images."""
        for index in chosen:
            yield from self._rows.get(self.images[index]["id"], ())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the categories in the order of their ids."""
        return tuple(self.categories[i] for i in sorted(self.categories))


def read_coco(path: Path) -> CocoSet:
    """Read a COCO file. Annotations whose boxes have no area are skipped and counted.

    Raises:
        Mistake: If a field is missing or malformed; the message names the file, the entry and the field.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Mistake(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Mistake(f"{path}: expected an object with images, annotations and categories")
    lists: dict[str, list[Any]] = {}
    for name in ("images", "annotations", "categories"):
        if isinstance(found := content.get(name), list):
            lists[name] = found
        else:
            raise Mistake(f"{path}: `{name}` is missing or not a list; COCO instances need it")
    categories = {row["id"]: row["name"] for row in _checked(path, "categories", lists["categories"], CATEGORY)}
    images = {row["id"]: row for row in _checked(path, "images", lists["images"], IMAGE)}
    for name, table in (("categories", categories), ("images", images)):
        if len(table) != len(lists[name]):
            raise Mistake(f"{path}: `{name}` has an id twice; ids must differ")
    rows: dict[int, list[Mapping[str, Any]]] = {}
    skipped = 0
    for k, row in enumerate(_checked(path, "annotations", lists["annotations"], ANNOTATION)):
        for field, table in (("image_id", images), ("category_id", categories)):
            if row[field] not in table:
                raise Mistake(f"{path}: annotations[{k}].{field} is {row[field]}, which is not listed")
        _, _, width, height = _box(row["bbox"], f"{path}: annotations[{k}].bbox")
        if width == 0 or height == 0:
            skipped += 1
            continue
        rows.setdefault(row["image_id"], []).append(row)
    return CocoSet(path, categories, list(images.values()), rows, skipped)


CATEGORY: Mapping[str, type] = {"id": int, "name": str}
IMAGE: Mapping[str, type] = {"id": int, "file_name": str, "height": int, "width": int}
ANNOTATION: Mapping[str, type] = {"image_id": int, "category_id": int, "bbox": list}


def _checked(path: Path, name: str, rows: Sequence[Any], fields: Mapping[str, type]) -> Iterator[Any]:
    """Yield the rows of a list that have all fields. Raises Mistake."""
    for k, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Mistake(f"{path}: {name}[{k}] is not an object")
        for field, kind in fields.items():
            if field not in row:
                raise Mistake(f"{path}: {name}[{k}] has no `{field}`; add it")
            if not isinstance(row[field], kind) or isinstance(row[field], bool):
                raise Mistake(f"{path}: {name}[{k}].{field} is {row[field]!r}; expected {kind.__name__}")
        yield row


def _box(values: Sequence[Any], where: str) -> Sequence[float]:
    numbers = len(values) == 4 and all(isinstance(v, int | float) and np.isfinite(v) for v in values)
    if not numbers or min(values[2:]) < 0:
        raise Mistake(f"{where} is {values}; expected left, top, width and height in pixels")
    return values


def _mask(segmentation: Any, size: tuple[int, int], where: str) -> Array:
    """A mask (H, W) of run lengths, or of a list of polygons. Raises Mistake."""
    if isinstance(segmentation, list) and segmentation:
        return _polygons(segmentation, size, where)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise Mistake(f"{where} is missing; expected run lengths with `size` and `counts`, or polygons")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        raise Mistake(f"{where}.counts is a compressed string; write the run lengths as a list of numbers")
    whole = isinstance(counts, list) and all(isinstance(each, int) and each >= 0 for each in counts)
    if tuple(segmentation["size"]) != size or not whole or sum(counts) != size[0] * size[1]:
        raise Mistake(
            f"{where}: run lengths of size {segmentation['size']} do not fill an image of {list(size)} pixels"
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size, order="F")


def _polygons(polygons: Sequence[Any], size: tuple[int, int], where: str) -> Array:
    image = np.zeros(size, np.uint8)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise Mistake(f"{where}: a polygon is x, y of at least three corners in one list")
        try:
            corners = np.array(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise Mistake(f"{where}: a polygon's corners must be numbers") from error
        cv2.fillPoly(image, [np.round((corners - 0.5) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return image.astype(bool)
