"""Conversion of configurations and flags of earlier versions to the present ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from embodia.perception.self_supervision.slow_features import SlowFeaturesConfig, SlowNetConfig
from embodia.scripts.assembly.kinds import IMAGE_ENCODER, LEARNER, MODEL, OBJECTIVE, PLANNER
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.renamed import renamed as renamed_fields

Data = dict[str, Any]

TRAIN = {
    "--wrap": "--env.wrap",
    "--stack": "--env.stack",
    "--encoder.width": "--encoder.image.width",
    "--agent.search.": "--agent.planner.",
    "--agent.rssm.": "--agent.model.",
    "--agent.dino-wm.": "--agent.model.",
    "--agent.substeps": "--agent.model.substeps",
    "--agent.quadratic.": "--agent.objective.",
    "--agent.discount": "--agent.objective.discount",
}
"""Old prefixes and short names of flags of `train`, and the present ones."""
PRETRAIN = {"--encoder.net": "--encoder"}


def flags(arguments: Sequence[str], names: Mapping[str, str] = TRAIN) -> list[str]:
    """Return the arguments with the present names of flags."""
    return [renamed(argument, names) for argument in arguments]


def renamed(argument: str, names: Mapping[str, str]) -> str:
    name, equals, value = argument.partition("=")
    name = name.replace("_", "-") if name.startswith("--") else name
    for old, new in names.items():
        if name == old or (old.endswith(".") and name.startswith(old)):
            return f"{new}{name.removeprefix(old)}{equals}{value}"
    return argument


def renewed(data: Any) -> Any:
    """Convert a configuration that was read from JSON to the present form."""
    if isinstance(data, list):
        return [renewed(each) for each in data]
    if not isinstance(data, dict):
        return data
    data = {name: renewed(value) for name, value in data.items()}
    kind = data.get("kind", "")
    return FORMS.get(kind, lambda same: same)(renamed_fields(kind, data))


def encoder(data: Data) -> Data:
    """Earlier, `width` was an option of the conv encoder only, whose token had the width of the fused token."""
    width = data.pop("width", None)
    if width is not None and data.get("image") == "conv":
        data["image"] = {"kind": "conv_net", "dim": data["dim"], "width": width}
    return data


def mpc(data: Data) -> Data:
    """Earlier, the options of all models, planners and objectives were side by side in one configuration."""
    if "search" not in data:
        return data
    models, quadratic = {"rssm": data.pop("rssm"), "dino-wm": data.pop("dino_wm")}, data.pop("quadratic")
    search, discount, substeps = data.pop("search"), data.pop("discount"), data.pop("substeps")
    if data["model"] in models:
        data["model"] = models[data["model"]]
    elif data["model"] != "simulator":
        data["model"] = configured(MODEL, data["model"], substeps=substeps)
    chosen = {name: value for name, value in search.items() if name != "kind" and value is not None}
    data["planner"] = configured(PLANNER, data["planner"], **chosen)
    if data["objective"] == "return":
        data["objective"] = configured(OBJECTIVE, "return", discount=discount)
    elif data["objective"] == "quadratic":
        weights = {name: tuple(value) if isinstance(value, list) else value for name, value in quadratic.items()}
        data["objective"] = configured(OBJECTIVE, "quadratic", **{k: v for k, v in weights.items() if k != "kind"})
    return data


def image_encoder(data: Data) -> Any:
    """Earlier, the options of all encoders were in one configuration; `slow` was the number of slow features."""
    data.pop("kind")
    net, slow = data.pop("net"), data.pop("slow", 0)
    known = {each.name for each in fields(IMAGE_ENCODER.options(IMAGE_ENCODER.named(net)))}
    made = configured(IMAGE_ENCODER, net, **{name: value for name, value in data.items() if name in known})
    return configured(IMAGE_ENCODER, "slow_features", encoder=made, dim=slow) if slow else made


def pretraining(data: Data) -> Data:
    """Earlier, the configuration of slow features contained that of the encoder below them."""
    if isinstance(data["method"], SlowFeaturesConfig) and isinstance(data["encoder"], SlowNetConfig):
        data["encoder"] = data["encoder"].encoder
    return data


def learner(name: str) -> Callable[[Data], Any]:
    """Earlier, the options of a learner were in a class called NAMESettings."""

    def renew(data: Data) -> Any:
        chosen = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return configured(LEARNER, name, **{key: value for key, value in chosen.items() if key != "kind"})

    return renew


def of_sb3(kind: str, own: str) -> Callable[[Data], Data]:
    """Earlier, PPO and DQN were SB3's; `own` is a field that only the present ones have."""

    def renew(data: Data) -> Data:
        return data if own in data else {**renamed_fields(f"SB3{kind}", data), "kind": f"SB3{kind}"}

    return renew


FORMS: dict[str, Callable[[Data], Any]] = {
    "EncoderConfig": encoder,
    "ImageConfig": image_encoder,
    "ExpertConfig": lambda data: "expert",
    "MPCConfig": mpc,
    "PPOConfig": of_sb3("PPOConfig", "precision"),
    "DQNConfig": of_sb3("DQNConfig", "double"),
    "PretrainConfig": pretraining,
    "PretrainingConfig": lambda data: {**data, "kind": "FitConfig"},
    "SimCLRSettings": learner("simclr"),
    "BYOLSettings": learner("byol"),
    "SimSiamSettings": learner("simsiam"),
    "VICRegSettings": learner("vicreg"),
    "PatchVICRegSettings": learner("patch-vicreg"),
    "BarlowTwinsSettings": learner("barlow-twins"),
    "DINOSettings": learner("dino"),
    "MAESettings": learner("mae"),
    "TimeContrastiveSettings": learner("time-contrastive"),
    "SlotAttentionSettings": learner("slot-attention"),
    "ComplexAutoEncoderSettings": learner("complex-autoencoder"),
    "SlowFeaturesSettings": learner("slow-features"),
}
