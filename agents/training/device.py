"""The choice of the torch device."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the torch device of this name; "auto" is cuda if available, otherwise cpu.

    Raises:
        ValueError: if there is no such device, such as cuda without a CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device is "{name}", but torch finds no CUDA device; use "auto" or "cpu"')
    try:
        torch.zeros(1, device=name).item()  # torch makes devices that are not there, and fails when they are used
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'device is "{name}", which torch cannot use ({reason}); use "auto", "cpu" or "cuda"'
        ) from error
    return torch.device(name)
