"""ROS 2 messages as observations, and actions as ROS 2 messages. Nothing here imports ROS.

Messages are read by their fields, as `sensor_msgs/Image` and `std_msgs/*MultiArray` define them, so that the
conversions can be tested, and used on bags, without an installation of ROS.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from gymnasium import Space, spaces

from embodia.agents import Array

ENCODINGS: Mapping[str, tuple[type, int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "16UC1": (np.uint16, 1),
    "32FC1": (np.float32, 1),
}
"""Type and channels of the encodings of `sensor_msgs/Image` that are read."""
MILLIMETRES = ("mono16", "16UC1")
"""Encodings of depth in millimetres (REP 118); those of floats are in metres."""


class MessageError(ValueError):
    """A message cannot be converted to the observation that an agent expects."""


def image(message: Any) -> Array:
    """Return a `sensor_msgs/Image` as (H, W, C): uint8 RGB or grey, or float32 depth [m].

    Raises:
        MessageError: if the encoding is not one of `ENCODINGS`, or there are fewer bytes than height x step.
    """
    if message.encoding not in ENCODINGS:
        raise MessageError(f"image encoding {message.encoding!r} is not read; use one of {', '.join(ENCODINGS)}")
    name, channels = ENCODINGS[message.encoding]
    kind: np.dtype[Any] = np.dtype(name).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(bytes(message.data), np.uint8)
    if len(data) < height * step or step < width * channels * kind.itemsize:
        raise MessageError(f"image of {height}x{width} {message.encoding} with step {step} has only {len(data)} bytes")
    rows = data[: height * step].reshape(height, step)[:, : width * channels * kind.itemsize]  # a row may be padded
    pixels: Array = np.ascontiguousarray(rows).view(kind).reshape(height, width, channels)
    pixels = pixels.astype(kind.newbyteorder("="))
    if message.encoding.startswith("bgr"):
        pixels = pixels[..., [2, 1, 0, *range(3, channels)]]
    return pixels.astype(np.float32) / 1000 if message.encoding in MILLIMETRES else pixels


def observation(message: Any, space: Space[Any], name: str, far: float = 10.0) -> Array:
    """Convert a message to an observation of `space`.

    An image is scaled to the space's size. Depth is divided by `far` where the space ends at 1, as the depth of homes
    does, and clipped; NaN counts as far. Other messages have a field `data`: a number, or a list of them.

    Args:
        message: `sensor_msgs/Image`, or a message of `std_msgs` with `data`.
        space: the space of the observation.
        name: the observation's key, for messages.
        far: distance that the space's 1 stands for [m].

    Raises:
        MessageError: if the message has another kind or number of values.
    """
    shape, dtype = space.shape or (), np.dtype(space.dtype)
    if hasattr(message, "encoding"):
        if len(shape) != 3:
            raise MessageError(f"{name}: the topic has images, but the agent expects shape {shape}")
        return picture(image(message), space, name, far)
    values = np.asarray(message.data, np.float64).ravel()
    if values.size != int(np.prod(shape)):
        raise MessageError(f"{name}: the message has {values.size} values, but the agent expects shape {shape}")
    return values.reshape(shape).astype(dtype)


def picture(pixels: Array, space: Space[Any], name: str, far: float) -> Array:
    assert isinstance(space, spaces.Box)
    height, width, channels = space.shape
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=np.inf, posinf=far, neginf=0.0)
        interpolation = cv2.INTER_NEAREST  # the mean of two depths is no depth
    else:
        interpolation = cv2.INTER_AREA
    if pixels.shape[:2] != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=interpolation).reshape(height, width, -1)
    pixels = pixels[..., :3] if channels == 3 else pixels
    if pixels.shape != space.shape or (pixels.dtype.kind == "f") != (np.dtype(space.dtype).kind == "f"):
        raise MessageError(f"{name}: an image {pixels.shape} {pixels.dtype} is not what the agent expects, {space}")
    if pixels.dtype.kind == "f" and float(space.high.max()) == 1.0:
        pixels = pixels / far
    return np.clip(pixels, space.low, space.high).astype(space.dtype)


def numbers(action: Array) -> list[float] | list[int]:
    """The values of an action, for `std_msgs/Int64MultiArray` or `Float64MultiArray`."""
    kind: Callable[[Any], Any] = float if np.asarray(action).dtype.kind == "f" else int
    return [kind(value) for value in np.ravel(action)]


def velocities(action: Array, table: Mapping[int, tuple[float, float]] | None) -> tuple[float, float]:
    """Forward speed [m/s] and turning rate [rad/s, to the left] of `geometry_msgs/Twist` for an action.

    Args:
        action: a discrete action, looked up in `table`; or the two values themselves.
        table: action -> (forward, turn); None for continuous actions.

    Raises:
        MessageError: if the table lacks the action, or a continuous action has not two values.
    """
    values = np.ravel(action)
    if table is not None:
        if int(values[0]) not in table:
            raise MessageError(f"action {int(values[0])} has no velocities; give them for each action")
        return table[int(values[0])]
    if values.size != 2:
        raise MessageError(f"an action of {values.size} values is no (forward, turn)")
    return float(values[0]), float(values[1])
