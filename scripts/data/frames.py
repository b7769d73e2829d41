"""Clips for pretraining, streamed from episodes, images or videos through a shuffle buffer of bounded size."""

import hashlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from gymnasium import Space, spaces
from PIL import Image, ImageOps

from embodia.agents import Array
from embodia.agents.training.rows import EpisodeError, episode_files, read_episode
from embodia.envs.video.clips import Sampling, VideoError, clips
from embodia.envs.video.films import SUFFIXES, films
from embodia.perception.encoders.observation import kind
from embodia.scripts.assembly.image_encoders import picture_space
from embodia.scripts.mistake import Mistake, nearest

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class BadFile(ValueError):
    """A file cannot be read and is skipped; the message names it."""


class Source(Protocol):
    """Files that hold clips of one observation key."""

    space: spaces.Dict
    """The space of a frame, under its one key."""

    @property
    def files(self) -> Sequence[Path]: ...

    def clips(self, file: int, start: int = 0) -> Iterator[Array]:
        """Yield the clips (T, ...) of a file from number `start` on, always the same ones.

        Raises:
            BadFile: if the file cannot be read, possibly after some clips.
        """


class Episodes:
    """Clips of `frames` rows with distance `gap`, from episodes of `embodia collect`. No clip spans two episodes.

    Images have their recorded size; with `size`, their central square is scaled to it.
    """

    def __init__(self, folder: Path, frames: int = 1, gap: int = 1, key: str | None = None, size: int | None = None):
        self.files, self.frames, self.gap, self.size = episode_files(folder), frames, gap, size
        for path in self.files:
            try:
                space = read_episode(path).observation_space
                break
            except EpisodeError:
                continue
        else:
            raise Mistake(f"{folder}: none of its {len(self.files)} episodes can be read; record them again")
        pictures = [name for name, each in space.items() if kind(each) in ("image", "depth")]
        if not pictures or key not in (None, *pictures):
            hint = nearest(key or "", pictures) if pictures else "Record episodes with a camera."
            raise Mistake(f"{folder}: {key or 'an image'} is not among the recorded images. {hint}")
        colour = (name for name in pictures if (space[name].shape or ())[-1:] == (3,))
        self.key = key or next(colour, pictures[0])
        self.recorded = space[self.key]
        self.space = spaces.Dict({self.key: self.recorded if size is None else resized(self.recorded, size)})

    def clips(self, file: int, start: int = 0) -> Iterator[Array]:
        try:
            episode = read_episode(self.files[file])
        except (EpisodeError, OSError) as error:
            raise BadFile(str(error)) from error
        found = episode.observation_space.spaces.get(self.key)
        if found != self.recorded:
            raise BadFile(f"{self.files[file]}: {self.key} is {found}, but {self.recorded} in the first episode")
        frames = episode.rows["obs"][self.key]
        if self.size is not None:
            frames = np.stack([middle_square(frame, self.size) for frame in frames])
        span = (self.frames - 1) * self.gap
        for first in range(start, len(frames) - span):
            yield frames[first : first + span + 1 : self.gap]


class Pictures:
    """Clips of one frame: an image, or all images below a folder, their central squares scaled to `size`."""

    def __init__(self, data: Path, size: int = 64):
        found = [data] if data.is_file() else data.rglob("*")
        self.files = sorted(path for path in found if path.suffix.lower() in PICTURES)
        self.size, self.space = size, picture_space((size, size, 3))

    def clips(self, file: int, start: int = 0) -> Iterator[Array]:
        if start == 0:
            yield read_picture(self.files[file], self.size)[None]


class Together:
    """The clips of several sources of the same space: images beside videos."""

    def __init__(self, sources: Sequence[Source]):
        self.space = sources[0].space
        self.places = [(each, file) for each in sources for file in range(len(each.files))]
        self.files = [path for each in sources for path in each.files]

    def clips(self, file: int, start: int = 0) -> Iterator[Array]:
        source, number = self.places[file]
        yield from source.clips(number, start)


def read_picture(path: Path, size: int) -> Array:
    """Read an image as (size, size, 3) RGB, upright as its EXIF orientation says. Raises BadFile."""
    if not path.is_file():  # a pipe among the images would be waited for
        raise BadFile(f"{path}: is no regular file; remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images, and of odd metadata
            with Image.open(path) as image:
                return middle_square(as_rgb(ImageOps.exif_transpose(image)), size)
    except Exception as error:  # decoders raise whatever their library raises, Pillow also for 179 megapixels
        raise BadFile(f"{path}: cannot be decoded as an image ({type(error).__name__}: {error}); remove it") from error


def as_rgb(image: Image.Image) -> Array:
    """Return an image as uint8 (H, W, 3); 16-bit greys are scaled to 8 bits, transparency is dropped."""
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def middle_square(picture: Array, size: int) -> Array:
    """Crop the central square of (H, W, C) and scale it to (size, size, C).

    Depth uses nearest-neighbour sampling, because a mean of two objects' depths is the depth of neither.
    """
    height, width, channels = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(picture[top : top + side, left : left + side])
    smooth = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    how = smooth if picture.dtype == np.uint8 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(square, (size, size), interpolation=how)).reshape(size, size, channels)


def resized(picture: Space[Any], size: int) -> spaces.Box:
    assert isinstance(picture, spaces.Box)
    shape = (size, size, picture.shape[-1])
    return spaces.Box(float(picture.low.min()), float(picture.high.max()), shape, picture.dtype.type)


class Films:
    """Clips of `frames` frames from videos or Ego-Exo4D, read at `fps`; `gap` is the distance between frames."""

    def __init__(self, folder: Path, frames: int = 1, gap: int = 1, size: int = 64, fps: float = 5.0):
        self.files, self.gap = films(folder), gap
        self.sampling = Sampling((frames - 1) * gap + 1, fps, 1, size)
        self.space = picture_space((size, size, 3))

    def clips(self, file: int, start: int = 0) -> Iterator[Array]:
        try:
            for clip in clips(self.files[file], self.sampling, start):
                yield clip.frames[:: self.gap]
        except VideoError as error:
            raise BadFile(str(error)) from error


def source(
    data: Path,
    frames: int = 1,
    gap: int = 1,
    size: int = 64,
    fps: float = 5.0,
    key: str | None = None,
    episode_size: int | None = None,
) -> Source:
    """Open the data at a path: episodes, videos or images. Raises Mistake if there are none."""
    if not data.exists():
        raise Mistake(f"--data {data}: no such path; give recorded episodes, or a folder of videos or images")
    for folder in (data, data / "rows"):
        if episode_files(folder):
            return Episodes(folder, frames, gap, key, episode_size)
    below = {path.suffix.lower() for path in ([data] if data.is_file() else data.rglob("*"))}
    if (data / "takes.json").is_file() or below & set(SUFFIXES):
        videos = Films(data, frames, gap, size, fps)
        beside = below & set(PICTURES) and frames == 1 and not (data / "takes.json").is_file()
        return Together([videos, Pictures(data, size)]) if beside else videos
    if below & set(PICTURES):
        if frames > 1:
            raise Mistake(f"--data {data}: single images have no next frame; omit --positives, or use videos")
        return Pictures(data, size)
    kinds = f"no episode-*.npz, no video ({', '.join(SUFFIXES)}) and no image ({', '.join(PICTURES)})"
    raise Mistake(f"--data {data}: {kinds}")


class Pool:
    """Clips in random order, through a shuffle buffer: each sampled clip is replaced by the next one of the stream.

    If all clips fit into the buffer, no file is read twice.

    Args:
        source: the files.
        capacity: maximum number of clips in the buffer.
        seed: random seed of the order of files and of sampling.
    """

    axis = 1
    """The batch axis of its arrays."""

    def __init__(self, source: Source, capacity: int = 4096, seed: int = 0):
        self.source, self.capacity = source, capacity
        ((self.key, _),) = source.space.items()
        self.space = source.space
        self.rng = np.random.default_rng(seed)
        self.seed, self.epoch, self.position, self.number = seed, 0, 0, 0  # of the next clip: file and number in it
        self.whole = False  # whether the buffer holds all clips
        self.skipped: dict[str, str] = {}  # file -> why
        self.clips: list[Array] = []
        self.places: list[tuple[int, int]] = []  # (file, number) of each clip held
        self._stream: Iterator[tuple[tuple[int, int], Array]] | None = None

    def batch(self, n: int) -> dict[str, Any]:
        """Sample n clips as rows, {"obs": {key: (T, n, ...)}}. Raises Mistake if there are no clips."""
        return {"obs": {self.key: self.draw(n)[0]}}

    def draw(self, n: int) -> tuple[Array, Array]:
        """Sample n clips (T, n, ...) and the index of the file of each (n,)."""
        if not self.clips:
            self._fill()
        drawn = self.rng.permutation(len(self.clips))[:n]
        if len(drawn) < n:  # fewer clips than a batch
            drawn = self.rng.integers(len(self.clips), size=n)
        rows = np.stack([self.clips[i] for i in drawn], axis=1)
        files = np.array([self.places[i][0] for i in drawn])
        if not self.whole:
            for i in np.unique(drawn):
                self.places[i], self.clips[i] = self._next()
        return rows, files

    def _fill(self) -> None:
        while len(self.clips) < self.capacity:
            place, clip = self._next()
            if self.epoch > 0:  # the stream starts again: these are all clips
                self.whole = True
                return
            self.places.append(place)
            self.clips.append(clip)

    def _next(self) -> tuple[tuple[int, int], Array]:
        if self._stream is None:
            self._stream = self._read()
        return next(self._stream)

    def _read(self) -> Iterator[tuple[tuple[int, int], Array]]:
        """Yield clips endlessly from the current position on, with the files in a new order in each epoch."""
        while True:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.source.files))
            seen = self.position > 0 or self.number > 0
            while self.position < len(order):
                file = int(order[self.position])
                try:
                    for number, clip in enumerate(self.source.clips(file, self.number), start=self.number):
                        self.number, seen = number + 1, True
                        yield (file, number), np.array(clip)
                except BadFile as error:
                    self._skip(self.source.files[file], str(error))
                self.position, self.number = self.position + 1, 0
            if not seen:
                reasons = "\n".join(list(self.skipped.values())[:3])
                raise Mistake(f"no clip in any of {len(order)} files; they may be shorter than a clip\n{reasons}")
            self.epoch, self.position = self.epoch + 1, 0

    def _skip(self, path: Path, why: str) -> None:
        if str(path) not in self.skipped:
            self.skipped[str(path)] = why
            print(f"skipped: {why}", file=sys.stderr, flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream and which clips are held; the clips themselves are read again."""
        return {
            "files": self._names,
            "places": np.array(self.places, np.int64).reshape(-1, 2),
            "rng": self.rng.bit_generator.state,
            "stream": (self.epoch, self.position, self.number),
            "whole": self.whole,
            "skipped": dict(self.skipped),
        }

    @cached_property
    def _names(self) -> str:
        """Hash of the files' names."""
        return hashlib.sha256("\n".join(path.name for path in self.source.files).encode()).hexdigest()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position. Raises Mistake if the files have changed."""
        if state["files"] != self._names:
            raise Mistake("the data files differ from those the run started with; restore them, or start a new run")
        self.places = [(int(file), int(number)) for file, number in state["places"]]
        held = {}
        for file in {file for file, _ in self.places}:
            wanted = sorted(number for other, number in self.places if other == file)
            try:
                for number, clip in enumerate(self.source.clips(file, wanted[0]), start=wanted[0]):
                    held[file, number] = np.array(clip)
                    if number >= wanted[-1]:
                        break
            except BadFile:
                pass
        if lost := [place for place in self.places if place not in held]:
            path = self.source.files[lost[0][0]]
            raise Mistake(f"{path}: clip {lost[0][1]} can no longer be read; restore the file, or start a new run")
        self.clips = [held[place] for place in self.places]
        self.rng.bit_generator.state = state["rng"]
        self.epoch, self.position, self.number = state["stream"]
        self.whole, self.skipped, self._stream = state["whole"], dict(state["skipped"]), None
