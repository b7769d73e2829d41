"""Tests with a small random DINOv2 that is saved to disk and loaded as an encoder."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.perception.encoders.pretrained_vit import PretrainedViT

transformers = pytest.importorskip("transformers")
SPACE = spaces.Dict(
    {"rgb": spaces.Box(0, 255, (28, 42, 3), np.uint8), "depth": spaces.Box(0.0, 1.0, (28, 42, 1), np.float32)}
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}


@pytest.fixture(scope="module", params=["Dinov2", "Dinov2WithRegisters", "ViT"])
def saved(request, tmp_path_factory):
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(**SIZES)
    model = getattr(transformers, f"{request.param}Model")(config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return folder, model


def test_tokens_are_the_models(saved):
    folder, model = saved
    encoder = PretrainedViT(SPACE, str(folder), keys=["rgb"])
    rgb = torch.randint(0, 256, (2, 3, 28, 42, 3), dtype=torch.uint8)
    tokens = encoder({"rgb": rgb})
    assert tokens.shape == (2, 3, 2 * 3, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((rgb[0, 1] / 255 - mean) / std).permute(2, 0, 1)[None]
    options = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    with torch.no_grad():
        expected = model(pixel_values=pixels, **options).last_hidden_state
    torch.testing.assert_close(tokens[0, 1], expected[0, -6:], atol=1e-5, rtol=1e-4)
    cls = PretrainedViT(SPACE, str(folder), output="cls", keys=["rgb"])({"rgb": rgb})
    torch.testing.assert_close(cls[0, 1, 0], expected[0, 0], atol=1e-5, rtol=1e-4)


def test_frozen_weights_take_no_gradient(saved):
    rgb = {"rgb": torch.randint(0, 256, (2, 28, 42, 3), dtype=torch.uint8)}
    frozen = PretrainedViT(SPACE, str(saved[0]), keys=["rgb"]).train()
    assert not frozen(rgb).requires_grad
    assert not frozen.model.training
    tuned = PretrainedViT(SPACE, str(saved[0]), frozen=False, keys=["rgb"])
    tuned(rgb).square().sum().backward()
    assert any(parameter.grad is not None for parameter in tuned.model.parameters())


def test_mistakes_are_named(saved, tmp_path):
    with pytest.raises(ValueError, match="name one image in keys"):
        PretrainedViT(SPACE, str(saved[0]))
    with pytest.raises(ValueError, match="no model could be read"):
        PretrainedViT(SPACE, str(tmp_path / "nothing"), keys=["rgb"])


def test_keys_are_the_last_attentions(saved):
    """The features of TokenCut: the last block's key projection of its normalised input, at the patches."""
    encoder = PretrainedViT(SPACE, str(saved[0]), keys=["rgb"])
    images, _ = encoder.images({"rgb": torch.randint(0, 256, (2, 28, 42, 3), dtype=torch.uint8)})
    keys = encoder.patch_keys(images)
    assert keys.shape == (2, 2 * 3, 32)
    *_, (name, projection) = ((n, m) for n, m in encoder.model.named_modules() if n.split(".")[-1] in ("key", "k_proj"))
    assert ".1." in name  # of the second and last block
    caught = []
    projection.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    encoder.tokens(images)
    torch.testing.assert_close(keys, projection(caught[0])[:, -6:])
