"""Configurations: every preset is valid and survives JSON; invalid configurations are refused."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from torch import nn

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.dqn import DQNConfig
from embodia.agents.reinforcement.ppo import PPOConfig
from embodia.agents.reinforcement.sb3.dqn import SB3DQNConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
from embodia.envs.driving.learning.manoeuvre import action_space
from embodia.envs.driving.learning.observation import observation_space
from embodia.envs.driving.options import RoadOptions
from embodia.envs.grid.options import GridOptions
from embodia.scripts.assembly import build, stored
from embodia.scripts.assembly.config import Config, check, problems
from embodia.scripts.assembly.earlier import flags
from embodia.scripts.assembly.environments import EnvConfig, NoOptions, arguments, fitting, known_id
from embodia.scripts.assembly.kinds import ENCODER
from embodia.scripts.assembly.parts import configured, settled
from embodia.scripts.assembly.provenance import config_hash, plain
from embodia.scripts.assembly.renamed import RENAMED
from embodia.scripts.commands.train import Args, shortened
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset


@pytest.mark.parametrize("each", PRESETS, ids=lambda each: each.name)
def test_every_preset_is_sound_and_survives_json(each, tmp_path):
    check(each.config)
    stored.write(each.config, tmp_path / "config.json", preset=each.name)
    again = stored.read(tmp_path / "config.json", Config)
    assert again == each.config
    assert config_hash(again) == config_hash(each.config)


def test_fields_under_their_old_names_are_read(tmp_path):
    """Every class in the table of renamed fields, with the names of earlier versions."""
    kinds, path = dict(stored.types(Config)), tmp_path / "config.json"
    assert RENAMED.keys() - kinds.keys() == {"SearchOptions", "ImageConfig"}  # removed classes: see earlier.py
    for name in RENAMED.keys() & kinds.keys():
        names, new = RENAMED[name], kinds[name]()
        fields = {field.name for field in dataclasses.fields(new)}
        assert set(names.values()) <= fields, name
        assert not set(names) & fields, f"{name}: an old name means something else now"
        back = {new_name: old_name for old_name, new_name in names.items()}
        data = {"kind": name, **{back.get(field, field): plain(getattr(new, field)) for field in fields}}
        path.write_text(json.dumps({"config": data}))
        assert stored.read(path, kinds[name]) == new


def test_ppo_and_dqn_of_earlier_versions_were_those_of_sb3(tmp_path):
    path = tmp_path / "config.json"
    for kind, field, now in (
        ("PPOConfig", {"n_steps": 7}, SB3PPOConfig(n_steps=7)),
        ("PPOConfig", {"n_steps": 7, "precision": "float32"}, PPOConfig(n_steps=7)),
        ("DQNConfig", {"every": 3}, SB3DQNConfig(train_freq=3)),
        ("DQNConfig", {"train_freq": 3, "double": True}, DQNConfig(train_freq=3)),
    ):
        path.write_text(json.dumps({"config": {"kind": kind, **field}}))
        assert stored.read(path, type(now)) == now


def test_preset_names_are_unique_and_misspellings_are_met():
    names = [each.name for each in PRESETS]
    assert len(set(names)) == len(names)
    with pytest.raises(Mistake, match=r"unknown preset ppo-emtpy\. Did you mean ppo-empty"):
        preset("ppo-emtpy")


def test_ids_are_found_by_any_of_their_names_and_misspellings_are_met():
    for name in ("MiniGrid-Empty-8x8-v0", "embodia/MiniGrid-Empty-8x8-v0", "embodia:embodia/MiniGrid-Empty-8x8-v0"):
        assert known_id(name) == "embodia:embodia/MiniGrid-Empty-8x8-v0"
    assert known_id("minigrid:MiniGrid-Empty-8x8-v0") == "minigrid:MiniGrid-Empty-8x8-v0", "the one that was named"
    assert known_id("CartPole-v1") == "CartPole-v1"
    with pytest.raises(Mistake, match="MiniGrid-Empty-8x8-v0"):
        known_id("embodia/MiniGrid-Emtpy-8x8-v0")
    with pytest.raises(Mistake, match="no module nowhere_at_all"):
        known_id("nowhere_at_all:X-v0")


def test_our_environments_are_told_the_split_and_those_from_elsewhere_to_draw():
    ours, foreign = EnvConfig("embodia/MiniGrid-Empty-8x8-v0"), EnvConfig("CartPole-v1", NoOptions())
    assert arguments(ours, "test")["split"] == "test"
    assert arguments(foreign, "test") == {"render_mode": "rgb_array"}


def test_options_follow_the_world():
    assert fitting(EnvConfig("CartPole-v1")).options == NoOptions()
    chosen = EnvConfig("MiniGrid-Empty-8x8-v0", GridOptions("rgb"))
    assert fitting(chosen) == chosen


def broken(**parts):
    config = preset("ppo-empty")
    return replace(config, **{name: replace(getattr(config, name), **fields) for name, fields in parts.items()})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (broken(env={"num_envs": 0}), "env.num_envs is 0; it must be at least 1"),
        (broken(schedule={"steps": 0}), "schedule.steps is 0"),
        (broken(evaluation={"confidence": 95.0}), "evaluation.confidence is 95.0; give a number between 0 and 1"),
        (broken(env={"workers": 2}), "env.workers needs env.vectorization subprocess"),
        (broken(agent={"device": "gpu"}), "agent.device is gpu; choose auto, cpu, cuda"),
        (broken(agent={"learning_rate": -1.0}), "agent.learning_rate is -1.0"),
        (broken(agent={"batch_size": 5000}), "but a rollout is agent.n_steps x env.num_envs = 1024"),
        (Config(EnvConfig("MiniGrid-Playground-v0"), DAggerConfig()), "needs an expert, but MiniGrid-Playground-v0"),
        (Config(EnvConfig("MiniGrid-Nowhere-v0"), BCConfig()), "is not registered"),
    ],
)
def test_what_cannot_work_is_refused_with_its_flag(config, says):
    with pytest.raises(Mistake) as caught:
        check(config, learns=True)
    assert says in str(caught.value)


def test_who_does_not_learn_in_worlds_needs_no_expert_there():
    check(Config(EnvConfig("MiniGrid-Playground-v0"), BCConfig()))


def test_short_flags_reach_every_seed():
    config = shortened(Args(preset("ppo-empty"), seed=7, steps=99, device="cpu"))
    assert (config.schedule.seed, config.agent.seed, config.schedule.steps, config.agent.device) == (7, 7, 99, "cpu")
    assert list(problems(config)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data["config"]["agent"].update(kind="PPPOConfig"), "Did you mean PPOConfig"),
        (lambda data: data["config"]["agent"].update(wings=2), "config.agent: SB3PPOConfig has no wings"),
        (lambda data: data["config"].pop("env"), "missing 1 required positional argument: 'env'"),
        (lambda data: data.pop("config"), "cannot be read"),
    ],
)
def test_a_config_of_another_version_is_named(change, says, tmp_path):
    path = tmp_path / "config.json"
    stored.write(Config(EnvConfig("MiniGrid-Empty-5x5-v0"), SB3PPOConfig()), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(Mistake) as caught:
        stored.read(path, Config)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_truncated_config_is_named(tmp_path):
    path = tmp_path / "config.json"
    stored.write(preset("ppo-empty"), path)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(Mistake, match=r"config\.json cannot be read"):
        stored.read(path, Config)
    with pytest.raises(Mistake, match="is not a run"):
        stored.read(tmp_path / "elsewhere" / "config.json", Config)


# Runs made before ------------------------------------------------------------------------------------------------

EARLIER = sorted((Path(__file__).parent / "earlier").glob("*.json"))


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_configurations_written_by_earlier_versions_are_read(path):
    """Configurations of versions in which options of all models, planners and objectives were in one class."""
    assert settled(stored.read(path, Config)) == settled(preset(path.stem))


def test_an_earlier_convolutional_encoder_is_as_wide_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    data = json.loads(EARLIER[0].read_text())
    data["config"]["encoder"] |= {"image": "conv", "dim": 64, "width": 16}
    path.write_text(json.dumps(data))
    assert stored.read(path, Config).encoder.image == configured(ENCODER, "conv", dim=64, width=16)


def test_flags_of_earlier_versions_mean_what_they_meant():
    given = ["--agent.search.samples", "8", "--agent.dino_wm.depth=2", "--encoder.width", "4", "--agent.searching", "x"]
    wanted = ["--agent.planner.samples", "8", "--agent.model.depth=2", "--encoder.image.width", "4"]
    assert flags(given) == [*wanted, "--agent.searching", "x"]


# Weights ---------------------------------------------------------------------------------------------------------

WEIGHTS = {
    "ppo-empty": (181304, 12864.558247380188, 0.04480123519897461),
    "dqn-empty": (129710, 8007.34951852769, 0.5810491442680359),
    "dagger-fourrooms-memory": (168727, 8634.54186950042, 0.9617037177085876),
    "dagger-pointnav": (228500, 8351.282942959342, 0.18519604206085205),
    "ppo-pointnav": (312437, 11158.414904160658, 0.4852793216705322),
    "ppo-driving": (258826, 14455.449051966181, 0.02917402982711792),
    "dreamer-pendulum": (341827, 13318996255.576591, 0.520149827003479),
    "td-mpc2-pendulum": (534211, 266208.4942278115, 0.8338152766227722),
    "mpc-rssm-empty": (433252, 6659512172.975974, 0.7091473340988159),
}
"""Numbers of an agent's networks, the sum of their absolute values, and the next random number, as in
versions before the tables of methods: published results depend on them."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_presets_draw_the_weights_that_they_drew_before(name):
    config = preset(name)
    agent = build.agent(config, Spaces(config.env))
    parts = {name: value for name, value in vars(agent).items() if name != "evaluation"}  # the policy once more
    networks = [value for value in parts.values() if isinstance(value, nn.Module)]
    policy = getattr(getattr(agent, "model", None), "policy", None)  # SB3's; a part of TD-MPC2's model, counted twice
    networks += [policy] if isinstance(policy, nn.Module) else []
    tensors = [each for network in networks for each in network.state_dict().values()]
    count, total, drawn = WEIGHTS[name]
    assert sum(each.numel() for each in tensors) == count
    assert sum(float(each.double().abs().sum()) for each in tensors) == pytest.approx(total, rel=1e-6)
    assert torch.rand(1).item() == pytest.approx(drawn)


class Spaces:
    """The spaces of an environment; for driving, without generating a scenario."""

    def __init__(self, env):
        if isinstance(env.options, RoadOptions):
            self.single_observation_space = observation_space(env.options.observation)
            self.single_action_space = action_space(gym.spec(env.id).kwargs["action"])
            return
        made = build.worlds(env, "train", 1)
        self.single_observation_space, self.single_action_space = (
            made.single_observation_space,
            made.single_action_space,
        )
        made.close()
