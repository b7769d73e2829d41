"""Configurations: every preset can be carried out, survives JSON, and what cannot work is refused before anything."""

import dataclasses
import json
from dataclasses import replace

import pytest

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.sb3.ppo import PPOConfig
from embodia.scripts.assembly import config as configuration
from embodia.scripts.assembly.config import (
    Config,
    EnvConfig,
    GridOptions,
    NoOptions,
    check,
    fitting,
    known_id,
    make_options,
    problems,
    read,
)
from embodia.scripts.assembly.image_encoders import ImageConfig
from embodia.scripts.assembly.provenance import config_hash, plain
from embodia.scripts.assembly.renamed import RENAMED
from embodia.scripts.commands.train import Args, shortened
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset


@pytest.mark.parametrize("each", PRESETS, ids=lambda each: each.name)
def test_every_preset_is_sound_and_survives_json(each, tmp_path):
    check(each.config)
    configuration.write(each.config, tmp_path / "config.json", preset=each.name)
    again = read(tmp_path / "config.json")
    assert again == each.config
    assert config_hash(again) == config_hash(each.config)


def test_fields_under_their_old_names_are_read(tmp_path):
    """Every class of the table, with every field as earlier versions called it."""
    kinds = {**configuration.kinds(), "ImageConfig": ImageConfig}
    for name, names in RENAMED.items():
        new, fields = kinds[name](), {field.name for field in dataclasses.fields(kinds[name])}
        assert set(names.values()) <= fields, name
        assert not set(names) & fields, f"{name}: an old name means something else now"
        back = {new_name: old_name for old_name, new_name in names.items()}
        data = {"kind": name, **{back.get(field, field): plain(getattr(new, field)) for field in fields}}
        assert configuration.restore(json.loads(json.dumps(data)), tmp_path, root=kinds[name]) == new


def test_preset_names_are_unique_and_misspellings_are_met():
    names = [each.name for each in PRESETS]
    assert len(set(names)) == len(names)
    with pytest.raises(Mistake, match=r"ppo-emtpy is no preset\. Nearest: ppo-empty"):
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
    assert make_options(ours, "test")["split"] == "test"
    assert make_options(foreign, "test") == {"render_mode": "rgb_array"}


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
        (broken(env={"num_envs": 0}), "env.num_envs is 0; give at least 1"),
        (broken(schedule={"steps": 0}), "schedule.steps is 0"),
        (broken(evaluation={"confidence": 95.0}), "evaluation.confidence is 95.0; give a number between 0 and 1"),
        (broken(env={"workers": 2}), "env.workers needs env.vectorization subprocess"),
        (broken(agent={"device": "gpu"}), "agent.device is gpu; choose auto, cpu, cuda"),
        (broken(agent={"learning_rate": -1.0}), "agent.learning_rate is -1.0"),
        (broken(agent={"batch_size": 5000}), "but a rollout is agent.n_steps x env.num_envs = 1024"),
        (Config(EnvConfig("MiniGrid-Playground-v0"), DAggerConfig()), "asks the expert, and MiniGrid-Playground-v0"),
        (Config(EnvConfig("MiniGrid-Nowhere-v0"), BCConfig()), "is not registered"),
    ],
)
def test_what_cannot_work_is_refused_with_its_flag(config, says):
    with pytest.raises(Mistake) as caught:
        check(config)
    assert says in str(caught.value)


def test_short_flags_reach_every_seed():
    config = shortened(Args(preset("ppo-empty"), seed=7, steps=99, device="cpu"))
    assert (config.schedule.seed, config.agent.seed, config.schedule.steps, config.agent.device) == (7, 7, 99, "cpu")
    assert list(problems(config)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data["config"]["agent"].update(kind="PPPOConfig"), "Nearest: PPOConfig"),
        (lambda data: data["config"]["agent"].update(wings=2), "config.agent: PPOConfig has no wings"),
        (lambda data: data["config"].pop("env"), "missing 1 required positional argument: 'env'"),
        (lambda data: data.pop("config"), "cannot be read"),
    ],
)
def test_a_config_of_another_version_is_named(change, says, tmp_path):
    path = tmp_path / "config.json"
    configuration.write(Config(EnvConfig("MiniGrid-Empty-5x5-v0"), PPOConfig()), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(Mistake) as caught:
        read(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_truncated_config_is_named(tmp_path):
    path = tmp_path / "config.json"
    configuration.write(preset("ppo-empty"), path)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(Mistake, match=r"config\.json cannot be read"):
        read(path)
    with pytest.raises(Mistake, match="is no run"):
        read(tmp_path / "elsewhere" / "config.json")
