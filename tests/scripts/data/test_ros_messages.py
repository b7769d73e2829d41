"""ROS 2 messages as observations and actions as messages, without ROS: the fields are those of its definitions."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from embodia.scripts.data import ros_messages as messages


def image(pixels, encoding, padding=0, big=False):
    """A `sensor_msgs/Image` of pixels (H, W) or (H, W, C), with rows padded by some bytes."""
    kind = pixels.dtype.newbyteorder(">" if big else "<")
    rows = np.ascontiguousarray(pixels.astype(kind)).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.tobytes(),
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_colours_come_in_the_order_red_green_blue(encoding, padding):
    red = np.zeros((2, 3, len(encoding) - 1), np.uint8)
    red[..., 0 if encoding.startswith("rgb") else 2] = 200
    read = messages.image(image(red, encoding, padding))
    assert (read[..., :3] == [200, 0, 0]).all()


@pytest.mark.parametrize("big", [False, True])
def test_depth_is_in_metres_whichever_the_encoding_and_byte_order(big):
    metres = np.array([[0.5, 2.0], [3.25, 9.0]], np.float32)
    as_floats = messages.image(image(metres, "32FC1", big=big))
    as_millimetres = messages.image(image((metres * 1000).astype(np.uint16), "16UC1", 4, big=big))
    np.testing.assert_allclose(as_floats[..., 0], metres)
    np.testing.assert_allclose(as_millimetres[..., 0], metres)


def test_depth_is_scaled_to_the_agents_range_and_nothing_seen_counts_as_far():
    space = spaces.Box(0.0, 1.0, (2, 2, 1), np.float32)
    metres = np.array([[0.0, 5.0], [np.nan, 30.0]], np.float32)
    found = messages.observation(image(metres, "32FC1"), space, "depth", far=10.0)
    np.testing.assert_allclose(found[..., 0], [[0.0, 0.5], [1.0, 1.0]])
    assert space.contains(found)


def test_an_image_is_scaled_to_the_agents_size_and_depth_is_not_averaged():
    colour = messages.observation(
        image(np.full((8, 12, 3), 7, np.uint8), "rgb8"), spaces.Box(0, 255, (4, 4, 3), np.uint8), "rgb"
    )
    assert colour.shape == (4, 4, 3)
    assert (colour == 7).all()
    steps = np.repeat(np.array([[1.0, 9.0]], np.float32), 3, 1).repeat(6, 0)  # a wall and a door behind it
    depth = messages.observation(image(steps, "32FC1"), spaces.Box(0.0, 10.0, (3, 3, 1), np.float32), "depth")
    assert set(np.unique(depth)) <= {1.0, 9.0}


def test_numbers_take_the_shape_of_the_space():
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    found = messages.observation(SimpleNamespace(data=[1.5, -2.0]), space, "pointgoal")
    assert space.contains(found)
    assert found.tolist() == [1.5, -2.0]
    goal = messages.observation(SimpleNamespace(data=3), spaces.Discrete(6), "objectgoal")
    assert goal == 3
    assert goal.shape == ()


@pytest.mark.parametrize(
    ("message", "space", "said"),
    [
        (image(np.zeros((2, 2), np.uint8), "yuv422"), spaces.Box(0, 255, (2, 2, 3), np.uint8), "yuv422"),
        (image(np.zeros((2, 2), np.uint8), "mono8"), spaces.Box(0, 255, (2, 2, 3), np.uint8), "not what the agent"),
        (image(np.zeros((2, 2), np.uint8), "mono8"), spaces.Box(0.0, 1.0, (2, 2, 1), np.float32), "not what the agent"),
        (image(np.zeros((2, 2), np.uint8), "mono8"), spaces.Box(-1.0, 1.0, (2,), np.float32), "has images"),
        (SimpleNamespace(data=[1.0, 2.0, 3.0]), spaces.Box(-1.0, 1.0, (2,), np.float32), "3 values"),
    ],
)
def test_a_message_of_another_kind_is_refused_by_name(message, space, said):
    with pytest.raises(messages.MessageError, match=said):
        messages.observation(message, space, "camera")


def test_an_image_with_too_few_bytes_is_refused():
    short = image(np.zeros((4, 4, 3), np.uint8), "rgb8")
    short.data = short.data[:-1]
    with pytest.raises(messages.MessageError, match="only 47 bytes"):
        messages.image(short)


def test_actions_as_numbers_and_as_velocities():
    assert messages.numbers(np.array(2)) == [2]
    assert messages.numbers(np.array([0.5, -1.0], np.float32)) == [0.5, -1.0]
    table = {1: (0.25, 0.0), 2: (0.0, 0.5)}
    assert messages.velocities(np.array(2), table) == (0.0, 0.5)
    assert messages.velocities(np.array([0.1, -0.2]), None) == pytest.approx((0.1, -0.2))
    with pytest.raises(messages.MessageError, match="action 3"):
        messages.velocities(np.array(3), table)
    with pytest.raises(messages.MessageError, match="3 values"):
        messages.velocities(np.zeros(3), None)
