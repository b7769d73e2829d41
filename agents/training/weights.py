"""A module's weights as safetensors files."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from embodia.agents.training.checkpoint import CheckpointError


def _named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and saved buffers by name; a shared tensor is listed once."""
    saved = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in named if name in saved}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in _named_tensors(module).items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a module of the same architecture, on any device.

    Raises:
        CheckpointError: if the architecture differs or the file is truncated; the message names file and tensor.
    """
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: truncated or corrupt ({error})") from error
    ours, hint = _named_tensors(module), "build the agent with the checkpoint's configuration"
    for name in sorted({*ours} & {*stored}):
        if ours[name].shape != stored[name].shape:
            shapes = f"{tuple(stored[name].shape)} in the file, {tuple(ours[name].shape)} in this agent"
            raise CheckpointError(f"{path}: {name}: {shapes}; {hint}")
    try:  # modules may convert names of earlier versions here
        missing, unexpected = module.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}; {hint}") from error
    for name in sorted({*unexpected, *(name for name in missing if name in ours)}):
        side = "missing in the file" if name in ours else "not in this agent"
        raise CheckpointError(f"{path}: {name}: {side}; {hint}")
