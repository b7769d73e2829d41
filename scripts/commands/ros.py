"""`embodia ros RUN`: a ROS 2 node that carries observations to a trained agent and its actions back."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium import spaces

import embodia
from embodia.agents import Agent, Array
from embodia.scripts.data import ros_messages as messages
from embodia.scripts.mistake import Mistake, nearest


@dataclass(frozen=True)
class Args:
    """Run a trained agent as a ROS 2 node. It acts `rate` times a second on the newest message of every topic."""

    run: tyro.conf.Positional[str]
    """Run: its folder, its name, its preset, or hf://user/name."""
    observe: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--topic",))] = ()
    """Topics of the observations, KEY=TOPIC: rgb=/camera/image_raw. Images are sensor_msgs/Image; all other keys are
    std_msgs/Float64MultiArray."""
    action: str = "~/action"
    """Topic of the action: Int64MultiArray, or Float64MultiArray if actions are continuous."""
    twist: str | None = None
    """Topic of geometry_msgs/Twist, such as /cmd_vel, in addition to the action."""
    velocities: tuple[str, ...] = ()
    """Speeds of discrete actions for --twist, ACTION=FORWARD,TURN in m/s and rad/s: 1=0.25,0 2=0,0.5 3=0,-0.5 0=0,0."""
    start: str = "~/start"
    """Topic (std_msgs/Empty) that begins a new episode: the agent forgets."""
    rate: float = 5.0
    """Actions per second."""
    far: float = 10.0
    """Depth that the agent's largest depth stands for [m]."""
    checkpoint: str = "best"
    """Checkpoint: best, last, or a step."""
    device: str | None = None
    """cpu, cuda or auto; by default as the run was trained."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""


class Carrier:
    """Keeps the newest observations and the agent's memory; knows nothing of ROS.

    Args:
        agent: a trained agent.
        far: depth that the largest value of depth observations stands for [m].
    """

    def __init__(self, agent: Agent, far: float):
        self.agent, self.far = agent, far
        self.newest: dict[str, Array] = {}
        self.memory: Any = None

    def receive(self, key: str, message: Any) -> None:
        """Take a message as the observation `key`. Raises MessageError."""
        self.newest[key] = messages.observation(message, self.agent.observation_space[key], key, self.far)

    def start(self) -> None:
        """Begin a new episode."""
        self.memory, self.newest = None, {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Observations that have not come yet."""
        return [key for key in keys if key not in self.newest]

    def act(self, keys: Sequence[str]) -> Array:
        """The action for the newest observations; the agent's other observations, which it does not read, are 0."""
        space = self.agent.observation_space
        obs = {key: np.zeros(each.shape or (), each.dtype) for key, each in space.items() if key not in keys}
        action, self.memory = self.agent.predict({**obs, **{key: self.newest[key] for key in keys}}, self.memory)
        return action


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia ros")
    topics, speeds = pairs(args.observe, "--observe", "KEY=TOPIC"), speeds_of(args.velocities)
    if args.rate <= 0:
        raise Mistake(f"--rate is {args.rate}; it must be above 0")
    ros = imported()
    agent = embodia.load(args.run, args.checkpoint, args.device)
    check(agent, topics, args.twist, speeds)
    ros["rclpy"].init()
    node = ros["rclpy"].create_node("embodia")
    try:
        connect(node, ros, Carrier(agent, args.far), topics, args, speeds)
        print(f"{args.run} acts {args.rate:g} times a second on {', '.join(topics.values())}", file=sys.stderr)
        ros["rclpy"].spin(node)
    finally:
        node.destroy_node()
        ros["rclpy"].try_shutdown()
    return 0


def connect(
    node: Any,
    ros: Mapping[str, Any],
    carrier: Carrier,
    topics: Mapping[str, str],
    args: Args,
    speeds: Mapping[int, tuple[float, float]] | None,
) -> None:
    """Subscribe to the observations, and publish an action at every tick for which all of them have come."""
    std, space = ros["std_msgs"], carrier.agent.observation_space
    for key, topic in topics.items():
        kind = ros["sensor_msgs"].Image if len(space[key].shape or ()) == 3 else std.Float64MultiArray
        node.create_subscription(kind, topic, lambda message, key=key: carrier.receive(key, message), 1)
    node.create_subscription(std.Empty, args.start, lambda _: carrier.start(), 1)
    continuous = isinstance(carrier.agent.action_space, spaces.Box)
    array = std.Float64MultiArray if continuous else std.Int64MultiArray
    publish = node.create_publisher(array, args.action, 1).publish
    steer = node.create_publisher(ros["geometry_msgs"].Twist, args.twist, 1).publish if args.twist else None

    def tick() -> None:
        if late := carrier.missing(list(topics)):
            node.get_logger().info(f"waiting for {', '.join(late)}", throttle_duration_sec=5.0)
            return
        action = carrier.act(list(topics))
        publish(array(data=messages.numbers(action)))
        if steer is not None:
            twist = ros["geometry_msgs"].Twist()
            twist.linear.x, twist.angular.z = messages.velocities(action, speeds)
            steer(twist)

    node.create_timer(1 / args.rate, tick)


def check(agent: Agent, topics: Mapping[str, str], twist: str | None, speeds: Mapping[int, Any] | None) -> None:
    """Raise Mistake if the agent reads an observation without a topic, or there are no speeds for its actions."""
    space = agent.observation_space
    for key in topics:
        if key not in space.spaces:
            raise Mistake(f"--observe {key}: the agent has no such observation. {nearest(key, space)}")
    module = agent.policy_module()
    if lacking := [key for key in (module.keys if module else space) if key not in topics]:
        raise Mistake(f"--observe: the agent also reads {', '.join(lacking)}; name a topic for each, KEY=TOPIC")
    if twist and speeds is None and not isinstance(agent.action_space, spaces.Box):
        raise Mistake("--twist: actions are discrete; give --velocities ACTION=FORWARD,TURN for each of them")


def pairs(words: Sequence[str], flag: str, form: str) -> dict[str, str]:
    """KEY=VALUE words as a dict. Raises Mistake."""
    if wrong := [word for word in words if not all(word.partition("=")[::2])]:
        raise Mistake(f"{flag} {wrong[0]}: write it as {form}")
    if not words:
        raise Mistake(f"{flag}: name a topic for each observation, {form}")
    return dict(word.split("=", 1) for word in words)


def speeds_of(words: Sequence[str]) -> dict[int, tuple[float, float]] | None:
    """ACTION=FORWARD,TURN words as a table; None without any. Raises Mistake."""
    found = {}
    for word in words:
        try:
            action, speed = word.split("=")
            forward, turn = speed.split(",")
            found[int(action)] = (float(forward), float(turn))
        except ValueError as error:
            raise Mistake(f"--velocities {word}: write it as ACTION=FORWARD,TURN, such as 1=0.25,0") from error
    return found or None


def imported() -> dict[str, Any]:
    """ROS 2's Python packages. Raises Mistake if they are not there."""
    try:
        import geometry_msgs.msg
        import rclpy
        import sensor_msgs.msg
        import std_msgs.msg
    except ImportError as error:
        raise Mistake(
            f"ROS 2 is not installed here ({error.name} is missing): install it and source its setup.bash in this shell"
        ) from error
    return {
        "rclpy": rclpy,
        "std_msgs": std_msgs.msg,
        "sensor_msgs": sensor_msgs.msg,
        "geometry_msgs": geometry_msgs.msg,
    }
