"""Tables of methods: every entry fits its kind, and one line is all that a new method needs."""

import dataclasses

import pytest

from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.mpc import MPCConfig
from embodia.planners.search.cem import CEM
from embodia.scripts.assembly import stored
from embodia.scripts.assembly.config import Config
from embodia.scripts.assembly.kinds import AGENT, ENCODER, KINDS, PLANNER
from embodia.scripts.assembly.options import documented, method_of, options, plain
from embodia.scripts.assembly.parts import build, chosen, configured, settled
from embodia.scripts.commands import list as listing
from embodia.scripts.commands.models.pretrain_config import PretrainConfig
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import preset

LINES = [(kind, name) for kind in KINDS for name in kind.table]


@pytest.mark.parametrize(("kind", "name"), LINES, ids=lambda each: getattr(each, "noun", each))
def test_every_line_is_a_method_with_a_configuration_of_its_own(kind, name):
    config = configured(kind, name)
    assert dataclasses.is_dataclass(config)
    assert kind.method(config) is kind.table[name]
    assert kind.name(config) == name
    if isinstance(kind.table[name], type) and name != "goal":  # an ObservedGoal becomes an objective in each world
        assert kind.lacks(kind.table[name]) == []


def test_no_two_methods_have_configurations_of_the_same_name():
    """A stored configuration names its classes; the encoders with pretraining's sizes have the same classes."""
    for root in (Config, PretrainConfig):
        methods = {}
        for name, kind in stored.types(root):
            methods.setdefault(name, set()).add(plain(method) if (method := method_of(kind)) else kind)
        assert {name: found for name, found in methods.items() if len(found) > 1} == {}


class Narrow(CEM):
    """CEM with a horizon of one step."""

    def __init__(self, action_space, samples: int = 8):
        super().__init__(action_space, 1, samples, 2)


def test_a_line_in_a_table_is_enough(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(PLANNER.table, "narrow", Narrow)
    given = ["--agent", "mpc", "--agent.planner", "narrow", "--agent.planner.samples", "4"]
    rest, config = chosen(given, preset("ppo-empty"))
    assert rest == ["--agent.planner.samples", "4"], "a leaf, for the parser"
    stored.write(config, tmp_path / "config.json")
    assert stored.read(tmp_path / "config.json", Config) == config
    assert listing.main(["planners"]) == 0
    assert "narrow" in capsys.readouterr().out


def test_an_exchange_keeps_what_the_preset_says_of_both():
    _, config = chosen(["--agent.planner", "icem", "--agent.model", "cart-pole"], preset("mpc-pendulum"))
    assert config.agent.planner == configured(PLANNER, "icem", horizon=45, samples=96, elites=10, iterations=4)
    _, config = chosen(["--agent=dagger"], dataclasses.replace(preset("bc-fourrooms")))
    assert config.agent == DAggerConfig(), "but of two agents only seed and device mean the same"
    _, same = chosen(["--agent", "bc"], preset("bc-fourrooms"))
    assert same.agent == preset("bc-fourrooms").agent


def test_a_flag_of_a_part_that_has_no_such_option_names_those_it_has():
    with pytest.raises(Mistake, match=r"--agent.planner.elites is not an option of gradient, which has horizon"):
        chosen(["--agent.planner", "gradient", "--agent.planner.elites", "3"], preset("mpc-pendulum"))
    chosen(["--agent.no-memory-skip", "--agent.hidden", "3", "4"], preset("bc-doorkey"))


def test_parts_are_built_with_what_they_ask_for_by_name():
    class Reads:
        def __init__(self, encoder, config: MPCConfig | None = None, planner=None, other: int = 3):
            self.made = encoder, config, planner, other
            self.observation_space = self.action_space = None

    kind = dataclasses.replace(AGENT, table={"reads": Reads})
    config = MPCConfig(planner="mcts")
    encoder, seen, planner, other = build(kind, config, {"encoder": lambda: "eye", "actions": lambda: 4}).made
    assert (encoder, seen, other, planner.actions) == ("eye", config, 3, 4)
    with pytest.raises(Mistake, match="mcts: its constructor has the argument actions; available are"):
        build(kind, config, {"encoder": lambda: "eye"})


def test_flags_of_a_class_without_a_configuration_say_what_its_docstring_says():
    said = documented(ENCODER.table["vit"])
    assert said["patch_size"] == "Side of a patch [pixels]."
    assert "interpolates" not in said["pool"]
    assert documented(CEM)["min_std"].startswith("Minimum standard deviation")
    names = [each.name for each in dataclasses.fields(options(ENCODER.table["vit"], ENCODER.given))]
    assert names == ["patch_size", "dim", "depth", "num_heads", "num_registers", "output", "pool"]


def test_bare_names_stand_for_a_method_with_its_own_values():
    assert settled(MPCConfig()).planner == configured(PLANNER, "cem")
    assert settled(preset("dagger-pointnav")).encoder.image == configured(ENCODER, "patch_cnn")
