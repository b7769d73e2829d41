"""Configuration fields that were renamed, to read the runs of earlier versions."""

from collections.abc import Mapping
from typing import Any

CLONING = {
    "beside": "memory_skip",
    "sequence": "sequence_length",
    "every": "train_freq",
    "updates": "gradient_steps",
    "capacity": "buffer_size",
}
PLANNING = {
    "execute": "n_action_steps",
    "explore": "exploration_noise",
    "length": "sequence_length",
    "capacity": "buffer_size",
}
RENAMED: dict[str, dict[str, str]] = {
    "BCConfig": CLONING,
    "DAggerConfig": CLONING,
    "SB3DQNConfig": {
        "capacity": "buffer_size",
        "every": "train_freq",
        "updates": "gradient_steps",
        "target_every": "target_update_interval",
        "exploration_final": "exploration_final_eps",
    },
    "DreamerConfig": {
        "length": "sequence_length",
        "capacity": "buffer_size",
        "clip": "agc",
        "imagine": "imagination_horizon",
        "imagine_last": "imagination_last",
        "lam": "gae_lambda",
        "entropy": "ent_coef",
        "slow_rate": "tau",
        "replay_value": "replay_value_scale",
    },
    "MPCConfig": PLANNING,
    "TDMPC2Config": {**PLANNING, "encoder_share": "encoder_lr_scale"},
    "TDMPC2ModelConfig": {
        "latent": "latent_dim",
        "simplex": "simnorm_dim",
        "bins": "num_bins",
        "limit": "vmax",
        "entropy": "ent_coef",
        "target_rate": "tau",
    },
    "DINOWMConfig": {"heads": "num_heads"},
    "SearchOptions": {"lr": "learning_rate"},
    "ImageConfig": {"patch": "patch_size", "heads": "num_heads", "slots": "num_slots"},
}
"""Class -> old name -> new name."""


def renamed(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a class `kind` under their present names."""
    names = RENAMED.get(kind, {})
    return {names.get(name, name): value for name, value in fields.items()}
