"""Load weights under the parameter names of earlier versions."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def accept_old_names(module: nn.Module, names: Mapping[str, str]) -> None:
    """Make `load_state_dict` accept the module's own tensors under their old names, {old: new}."""

    def rename(owner: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for old, new in names.items():
            if prefix + old in state:
                state[prefix + new] = state.pop(prefix + old)

    module.register_load_state_dict_pre_hook(rename)
