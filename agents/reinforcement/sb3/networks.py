"""SB3's networks on top of an encoder."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from embodia.perception import Encoder


class Features(BaseFeaturesExtractor):
    """Features extractor for SB3's networks: an encoder's tokens, concatenated."""

    def __init__(self, observation_space: spaces.Dict, encoder: Encoder):
        super().__init__(observation_space, encoder.num_tokens * encoder.dim)
        self.encoder = encoder

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(obs).flatten(-2)  # (B, num_tokens * dim)


class RawObservations(BasePolicy):
    """Mix-in that passes raw observations to the encoder: scaling and one-hot codes are left to the encoder.

    List it after SB3's class among the bases, so that SB3's own methods that call it are kept.
    """

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        return features_extractor(obs)

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        """Initialise as SB3 does, except channels-last kernels, which its `orthogonal_` cannot write.

        This loses nothing, because an encoder's weights are restored afterwards.
        """
        if not isinstance(module, nn.Conv2d) or module.weight.is_contiguous():
            BasePolicy.init_weights(module, gain)
