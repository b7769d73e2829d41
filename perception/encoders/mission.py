"""Encoder of a mission in words: token embeddings and a GRU, as in the BabyAI baseline."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.encoders.observation import keys_of, take

PAD = 0


class MissionEncoder(Encoder):
    """Token embedding and a GRU, one token (*B, 1, dim) (Chevalier-Boisvert et al. 2019, BabyAI, section 4.1).

    The output is the GRU state after the last word, so padding has no effect.

    Args:
        space: Observation space with word ids int (L,), padded with 0.
        dim: Width of the token.
        embedding: Width of the word embedding.
        keys: The key to read; by default the only sequence of tokens.

    Raises:
        ValueError: If there is not exactly one sequence of tokens.
    """

    def __init__(self, space: spaces.Dict, dim: int = 64, embedding: int = 32, keys: Sequence[str] | None = None):
        super().__init__(space)
        self.keys = tuple(keys) if keys is not None else keys_of(space, ("tokens",), "MissionEncoder")
        if len(self.keys) != 1:
            raise ValueError(f"a MissionEncoder reads one sentence; got {self.keys}")
        words = space[self.keys[0]]
        assert isinstance(words, spaces.Box)
        self.num_tokens, self.dim = 1, dim
        self.embedding = nn.Embedding(int(words.high.max()) + 1, embedding, padding_idx=PAD)
        self.gru = nn.GRU(embedding, dim, batch_first=True)

    def forward(self, obs: Obs) -> Tensor:
        tokens, batch = take(obs, self.space, self.keys[0])  # (N, L)
        tokens = tokens.long()
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        length = ((tokens != PAD) * places).amax(1)  # (N,) position of the last word, 0 without words
        states, _ = self.gru(self.embedding(tokens))  # (N, L, dim)
        last = states[torch.arange(states.shape[0], device=states.device), (length - 1).clamp(min=0)]
        return (last * (length > 0)[:, None]).view(*batch, 1, self.dim)
