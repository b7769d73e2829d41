"""DINO-WM: a world model of frozen patch features (Zhou et al. 2024, "World models on pre-trained visual features").

z_t = encoder(o_t), frozen                                         patch tokens (N, D)
z_{t+1} = z_t + f(z_{t-H+1..t}, a_{t-H+1..t})                      a transformer, causal over frames
loss: || z_{t+1} - encoder(o_{t+1}) ||^2, teacher-forced

As in the paper, the embedded action of each frame is concatenated to its tokens. It also scales and shifts the norms of
every block, which speeds up learning on a small budget. Training and planning need no decoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Encoder
from embodia.perception.encoders.old_names import accept_old_names
from embodia.planners import Prediction, State
from embodia.planners.models.actions import action_width, encode_action
from embodia.planners.models.decoder import Decoder


@dataclass(frozen=True)
class DINOWMConfig:
    """DINO-WM (Zhou et al. 2024) at a size for CPUs. The paper uses history 3, dim 384, depth 6, num_heads 16,
    action_dim 10.
    """

    history: int = 1
    """Number of frames that the predictor sees."""
    dim: int = 96
    """Width of the predictor."""
    depth: int = 3
    """Number of transformer blocks of the predictor."""
    num_heads: int = 4
    """Number of attention heads of the predictor."""
    action_dim: int = 32
    """Width of the action embedding."""
    decoder: bool = False
    """Also train a decoder, from detached tokens, to visualise what the model imagines."""


class DINOWM(nn.Module):
    """World model of frozen patch features.

    State: {"tokens": (*B, H, N, D), "actions": (*B, H - 1, A), "age": (*B,) number of frames seen, at most H}.

    Args:
        space: Observation space of the encoder.
        action_space: Discrete, or a Box (A,).
        encoder: Encoder with tokens (*B, N, D). It is frozen.
        config: Configuration of the model.

    Raises:
        TypeError: For other action spaces.

    Source:
        Zhou et al. 2024, section 3.
    """

    def __init__(
        self,
        space: spaces.Dict,
        action_space: spaces.Space[Any],
        encoder: Encoder,
        config: DINOWMConfig | None = None,
    ):
        super().__init__()
        c = self.config = config or DINOWMConfig()
        self.encoder, self.action_space = encoder.requires_grad_(False), action_space
        self.num_tokens, self.token_dim = encoder.num_tokens, encoder.dim
        self.action_dim = action_width(action_space)
        self.act = nn.Linear(self.action_dim, c.action_dim)
        self.enter = nn.Linear(self.token_dim + c.action_dim, c.dim)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(self.num_tokens, c.dim))
        self.time_embed = nn.Parameter(0.02 * torch.randn(c.history, 1, c.dim))
        self.blocks = nn.ModuleList(Block(c.dim, c.num_heads, c.action_dim) for _ in range(c.depth))
        self.leave = nn.Sequential(nn.LayerNorm(c.dim), nn.Linear(c.dim, self.token_dim))
        self.decoder = Decoder(space, self.num_tokens * self.token_dim) if c.decoder else None
        accept_old_names(self, {"place": "pos_embed", "time": "time_embed"})

    def initial(self, n: int) -> State:
        h, like = self.config.history, self.pos_embed
        return {
            "tokens": like.new_zeros(n, h, self.num_tokens, self.token_dim),
            "actions": like.new_zeros(n, h - 1, self.action_dim),
            "age": torch.zeros(n, dtype=torch.int64, device=like.device),
        }

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        age = torch.where(first.bool(), 0, state["age"])
        return self.push({**state, "age": age}, self.encode(obs), self.encode_action(action))

    def imagine(self, state: State, action: Tensor) -> State:
        encoded = self.encode_action(action)
        actions = torch.cat([state["actions"], encoded[..., None, :]], -2)
        batch = state["age"].shape
        flat = (state["tokens"].flatten(0, len(batch) - 1), actions.flatten(0, len(batch) - 1), state["age"].flatten())
        after = self.advance(*flat)[:, -1].unflatten(0, batch)
        return self.push(state, after, encoded)

    def predict(self, state: State) -> Prediction:
        """Return the tokens (*B, N, D) of the newest frame."""
        return {"tokens": state["tokens"][..., -1, :, :]}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Decode the newest tokens to an observation. Raises TypeError without a decoder."""
        if self.decoder is None:
            raise TypeError(
                "this DINO-WM has no decoder; train it with --agent.model.decoder to decode its predictions"
            )
        return self.decoder(self.predict(state)["tokens"].flatten(-2))

    def push(self, state: State, tokens: Tensor, action: Tensor) -> State:
        """Append a frame and the action that led to it; drop the oldest frame."""
        return {
            "tokens": torch.cat([state["tokens"][..., 1:, :, :], tokens[..., None, :, :]], -3),
            "actions": torch.cat([state["actions"], action[..., None, :]], -2)[..., 1:, :],
            "age": (state["age"] + 1).clamp(max=self.config.history),
        }

    @torch.no_grad()
    def encode(self, obs: Mapping[str, Any]) -> Tensor:
        """Return the encoder's tokens (*B, N, D), without gradients."""
        return self.encoder(obs)

    def encode_action(self, action: Tensor) -> Tensor:
        """Encode actions as `actions.encode_action` does, (*B, A)."""
        return encode_action(action, self.action_space)

    def advance(self, tokens: Tensor, actions: Tensor, age: Tensor) -> Tensor:
        """Predict the frame after each frame.

        Args:
            tokens: Tokens (M, H, N, D).
            actions: Encoded actions (M, H, A).
            age: Number of valid frames, counted from the newest (M,).

        Returns:
            Tokens (M, H, N, D), each one frame later.
        """
        m, h, n, _ = tokens.shape
        acted = self.act(actions)[:, :, None].expand(-1, -1, n, -1)
        condition = acted.flatten(1, 2)
        x = (self.enter(torch.cat([tokens, acted], -1)) + self.pos_embed + self.time_embed).flatten(1, 2)
        mask = None if h == 1 else self.mask(age, h)
        for block in self.blocks:
            x = block(x, condition, mask)
        return tokens + self.leave(x).view(m, h, n, -1)

    def mask(self, age: Tensor, h: int) -> Tensor:
        """Attention mask (M, 1, H N, H N): True for tokens of the same frame and of earlier valid frames."""
        frame = torch.arange(h, device=age.device)
        seen = frame >= h - age[:, None]  # (M, H)
        allowed = (frame[:, None] > frame) & seen[:, None] | torch.eye(h, dtype=torch.bool, device=age.device)
        n = self.num_tokens
        return allowed.repeat_interleave(n, 1).repeat_interleave(n, 2)[:, None]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of rows (T, B, ...), T > history.

        Returns:
            The scalar loss, and its terms to log.
        """
        tokens = self.encode(batch["obs"])
        total, numbers = self.loss_of(tokens, self.encode_action(batch["action"]), batch["first"])
        if self.decoder is not None:
            shown = self.decoder.loss(tokens.flatten(-2), batch["obs"])
            pictures = torch.stack([value.mean() for value in shown.values()]).sum()
            total, numbers = total + pictures, {**numbers, "loss/decoder": pictures}
        return total, numbers

    def loss_of(self, tokens: Tensor, actions: Tensor, first: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss over every window of the history's length.

        Each window uses a random number of its newest frames, as at the start of an episode. Neither inputs nor targets
        cross the border of an episode.

        Args:
            tokens: Tokens (T, B, N, D).
            actions: Encoded actions (T, B, A).
            first: Starts of episodes (T, B).

        Returns:
            The scalar loss; the loss, and its ratio to the loss of predicting no change, to log.
        """
        h, steps = self.config.history, len(tokens)
        since = torch.zeros_like(first, dtype=torch.int64)  # number of rows of the episode up to this one
        for t in range(steps):
            since[t] = 1 if t == 0 else torch.where(first[t].bool(), 1, since[t - 1] + 1)
        windows = range(h - 1, steps - 1)  # index of the last frame
        past = torch.cat([tokens[t - h + 1 : t + 1].transpose(0, 1) for t in windows])
        acted = torch.cat([actions[t - h + 1 : t + 1].transpose(0, 1) for t in windows])
        after = torch.cat([tokens[t - h + 2 : t + 2].transpose(0, 1) for t in windows])
        known = torch.cat([since[t] for t in windows])
        going_on = torch.cat([~first[t + 1].bool() for t in windows])
        age = torch.minimum(torch.randint(1, h + 1, known.shape, device=known.device), known)
        error = (self.advance(past, acted, age) - after).square().mean((-2, -1))  # (M, H)
        counts = (torch.arange(h, device=age.device) >= h - age[:, None]).float()
        counts[:, -1] *= going_on
        loss = (counts * error).sum() / counts.sum().clamp_min(1)
        still = (counts * (past - after).square().mean((-2, -1))).sum() / counts.sum().clamp_min(1)
        return loss, {"loss/tokens": loss, "of_no_change": loss / still.clamp_min(1e-8)}


class Block(nn.Module):
    """Transformer block with masked attention and an MLP; the action scales and shifts the norm before each of them."""

    def __init__(self, dim: int, num_heads: int, condition: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim must be a multiple of num_heads; got {dim} and {num_heads}")
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulate = nn.Linear(condition, 4 * dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None) -> Tensor:
        """Return x (M, S, dim) after the block, for condition (M, S, A) and mask (M, 1, S, S) bool or None."""
        scale1, shift1, scale2, shift2 = self.modulate(condition).chunk(4, -1)
        inside = self.norm(x) * (1 + scale1) + shift1
        q, k, v = self.qkv(inside).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm(x) * (1 + scale2) + shift2)
