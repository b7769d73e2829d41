"""Where tensors live."""

import torch


def choose_device(name: str) -> torch.device:
    """ "auto" is cuda where there is one, else cpu.

    Raises:
        ValueError: for cuda without a CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device is "{name}" but torch sees no CUDA device; use "auto" or "cpu"')
    return torch.device(name)
