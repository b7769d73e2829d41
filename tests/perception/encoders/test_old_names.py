"""Tests that weights of earlier versions, with old parameter names, load in any submodule."""

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save_file
from torch import nn

from embodia.agents.training.weights import load_weights
from embodia.perception.encoders.vit import ViT
from embodia.perception.self_supervision.mae import MAE
from embodia.planners.models.dino_wm import DINOWM, DINOWMConfig

SPACE = spaces.Dict(image=spaces.Box(0, 255, (16, 16, 3), np.uint8))
OLD = {"pos_embed": "position", "mask_token": "hidden_token"}
OLD_MODEL = {"pos_embed": "place", "time_embed": "time"}


def vit():
    return ViT(SPACE, patch_size=8, dim=8, depth=1, num_heads=2)


def old_names(module, prefix, names):
    """The state with the tensors directly under `prefix` under their old names."""
    return {prefix + names.get(name.removeprefix(prefix), name.removeprefix(prefix)): tensor
            for name, tensor in module.state_dict().items()}  # fmt: skip


def assert_same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_inside_another_module():
    ours, fresh = (nn.ModuleDict({"deep": vit()}) for _ in range(2))
    fresh.load_state_dict(old_names(ours, "deep.", OLD))
    assert_same(ours, fresh)


def test_in_a_pretraining_that_is_resumed():
    ours, fresh = MAE(vit(), width=8, depth=1), MAE(vit(), width=8, depth=1)
    state = old_names(ours, "", OLD)
    state["encoder.position"] = state.pop("encoder.pos_embed")
    fresh.load_state_dict(state)
    assert_same(ours, fresh)


def test_from_a_file(tmp_path):
    actions = spaces.Box(-1, 1, (2,), np.float32)
    ours, fresh = (DINOWM(SPACE, actions, vit(), DINOWMConfig(dim=8, depth=1, num_heads=2)) for _ in range(2))
    save_file(old_names(ours, "", OLD_MODEL), tmp_path / "weights.safetensors")
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert_same(ours, fresh)
