"""SB3's networks on top of an encoder."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from embodia.perception import Encoder


class Features(BaseFeaturesExtractor):
    """An encoder's tokens laid side by side: what SB3's networks read."""

    def __init__(self, observation_space: spaces.Dict, encoder: Encoder):
        super().__init__(observation_space, encoder.num_tokens * encoder.dim)
        self.encoder = encoder

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(obs).flatten(-2)  # (B, num_tokens * dim)


class RawObservations(BasePolicy):
    """Raw observations for SB3's networks, behind them in the order of resolution: scaling and one-hot codes are the
    encoder's business."""

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        return features_extractor(obs)

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        """SB3's, but for kernels that lie channels last, which its `orthogonal_` cannot write; an encoder keeps its
        own weights anyhow."""
        if not isinstance(module, nn.Conv2d) or module.weight.is_contiguous():
            BasePolicy.init_weights(module, gain)
