"""`embodia ros`: what the node carries, with an agent and messages but without ROS."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.perception.encoders.combined import CombinedEncoder
from embodia.scripts.commands import ros
from embodia.scripts.mistake import Mistake

SPACE = spaces.Dict({"goal": spaces.Box(-np.inf, np.inf, (2,), np.float32), "speed": spaces.Box(-1, 1, (1,))})


@pytest.fixture
def agent():
    return BC(CombinedEncoder(SPACE, 8, keys=("goal",)), spaces.Discrete(4), BCConfig(memory=4))


def numbers(*values):
    return SimpleNamespace(data=list(values))


def test_it_answers_as_the_agent_does_and_remembers_until_a_new_episode(agent):
    carrier, memory = ros.Carrier(agent, far=10.0), None
    assert carrier.missing(["goal"]) == ["goal"]
    for t in range(3):
        carrier.receive("goal", numbers(t, -t))
        goal = np.array([t, -t], np.float32)
        wanted, memory = agent.predict({"goal": goal, "speed": np.zeros(1, np.float32)}, memory)
        assert carrier.act(["goal"]) == wanted
        assert (carrier.memory["memory"] == memory["memory"]).all()
    carrier.start()
    assert carrier.memory is None
    assert carrier.missing(["goal"]) == ["goal"]


class Node:
    """What the command uses of an `rclpy` node; `arrive` plays the part of the network."""

    def __init__(self):
        self.listeners, self.sent, self.timers, self.said = {}, [], [], []

    def create_subscription(self, kind, topic, callback, depth):
        self.listeners[topic] = (kind, callback)

    def create_publisher(self, kind, topic, depth):
        return SimpleNamespace(publish=lambda message: self.sent.append((topic, message)))

    def create_timer(self, period, callback):
        self.timers.append((period, callback))

    def get_logger(self):
        return SimpleNamespace(info=lambda text, **_: self.said.append(text))

    def arrive(self, topic, message):
        self.listeners[topic][1](message)


def twist():
    return SimpleNamespace(linear=SimpleNamespace(x=0.0), angular=SimpleNamespace(z=0.0))


def test_a_tick_publishes_the_action_once_every_observation_has_come(agent):
    array = SimpleNamespace
    ros2 = {
        "std_msgs": SimpleNamespace(Float64MultiArray=array, Int64MultiArray=array, Empty=array),
        "sensor_msgs": SimpleNamespace(Image=object()),
        "geometry_msgs": SimpleNamespace(Twist=twist),
    }
    node, carrier = Node(), ros.Carrier(agent, 10.0)
    args = ros.Args("run", twist="/cmd_vel", rate=4.0)
    speeds = {action: (0.1 * action, -0.2) for action in range(4)}
    ros.connect(node, ros2, carrier, {"goal": "/goal"}, args, speeds)
    ((period, tick),) = node.timers
    assert period == 0.25
    tick()
    assert not node.sent
    assert "goal" in node.said[0]
    node.arrive("/goal", numbers(1.0, 2.0))
    tick()
    (_, action), (topic, velocity) = node.sent
    assert topic == "/cmd_vel"
    assert velocity.angular.z == -0.2
    assert velocity.linear.x == pytest.approx(0.1 * action.data[0])


@pytest.mark.parametrize(
    ("topics", "speeds", "said"),
    [
        ({"gaol": "/goal"}, {0: (0, 0)}, "Did you mean goal"),
        ({"speed": "/speed"}, {0: (0, 0)}, "also reads goal"),
        ({"goal": "/goal"}, None, "--velocities"),
    ],
)
def test_what_does_not_fit_the_agent_is_named_before_anything_starts(agent, topics, speeds, said):
    with pytest.raises(Mistake, match=said):
        ros.check(agent, topics, "/cmd_vel", speeds)


def test_malformed_words_are_named():
    with pytest.raises(Mistake, match="--observe rgb"):
        ros.pairs(["rgb"], "--observe", "KEY=TOPIC")
    with pytest.raises(Mistake, match=r"--velocities 1=0\.2"):
        ros.speeds_of(["1=0.2"])
    with pytest.raises(Mistake, match="ROS 2 is not installed"):
        ros.imported()
