"""Weights of a module as safetensors."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from embodia.agents.training.checkpoint import CheckpointError


def _named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and saved buffers, each once though several names lead to it."""
    saved = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in named if name in saved}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in _named_tensors(module).items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a module of the same build, on whatever device it is.

    Raises:
        CheckpointError: naming file and tensor where the module is built differently or the file is cut off.
    """
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cut off or corrupt ({error})") from error
    ours, hint = _named_tensors(module), "build the agent with the checkpoint's own configuration"
    for name in sorted({*ours} & {*stored}):
        if ours[name].shape != stored[name].shape:
            shapes = f"{tuple(stored[name].shape)} in the file, {tuple(ours[name].shape)} in this agent"
            raise CheckpointError(f"{path}: {name}: {shapes}; {hint}")
    try:  # modules may take names of earlier versions here
        missing, unexpected = module.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}; {hint}") from error
    for name in sorted({*unexpected, *(name for name in missing if name in ours)}):
        side = "the file lacks it" if name in ours else "this agent has none"
        raise CheckpointError(f"{path}: {name}: {side}; {hint}")
