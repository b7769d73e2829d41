"""The choice of the torch device."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the torch device of this name; "auto" is cuda if available, otherwise cpu.

    Raises:
        ValueError: if the name is cuda and there is no CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device is "{name}", but torch finds no CUDA device; use "auto" or "cpu"')
    return torch.device(name)
