"""DreamerV3's recurrent state-space model (RSSM), a world model in latent space (Hafner et al. 2023).

h_t = f(h_{t-1}, z_{t-1}, a_{t-1})        recurrent state
z_t ~ q(z | h_t, x_t)                     posterior, with the observation
z_t ~ p(z | h_t)                          prior, without it: imagination
from (h_t, z_t): the observation, the reward that came with it, whether the episode continues
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Encoder
from embodia.perception.encoders.mlp import mlp, zeroed
from embodia.planners import Prediction, State
from embodia.planners.models.actions import action_width, encode_action
from embodia.planners.models.decoder import Decoder
from embodia.planners.models.networks import BlockGRU, rms_layer
from embodia.planners.models.state import stack
from embodia.planners.models.two_hot import TwoHot


@dataclass(frozen=True)
class RSSMConfig:
    """RSSM of DreamerV3 (Hafner et al. 2023). Sizes are near the paper's 1M model; the loss scales are the paper's."""

    deter: int = 256
    """Width of the recurrent state h."""
    stoch: int = 16
    """Number of categorical variables in z."""
    classes: int = 16
    """Number of classes of each categorical variable."""
    units: int = 128
    """Width of the hidden layers."""
    blocks: int = 8
    """Number of blocks of the block-diagonal GRU."""
    depth: int = 16
    """Number of channels of the image decoder's last stage."""
    unimix: float = 0.01
    """Weight of a uniform distribution mixed into every categorical, which keeps the KL finite."""
    free_nats: float = 1.0
    """KL below this value is not penalised [nat]; per time step, summed over the variables."""
    dyn_scale: float = 1.0
    """Weight of the dynamics loss, which trains the prior."""
    rep_scale: float = 0.1
    """Weight of the representation loss, which trains the posterior."""
    discount_horizon: float = 333.0
    """The continuation head learns (1 - terminal)(1 - 1 / discount_horizon), so the model includes the discount."""


class RSSM(nn.Module):
    """World model with a recurrent and a stochastic latent state, on top of any encoder.

    State: {"deter": (*B, D), "stoch": (*B, S, C)}. `features` concatenates both. Discrete actions are one-hot inside.

    Args:
        space: Observation space to decode.
        action_space: Discrete, or a Box (A,).
        encoder: Encoder of the observations; it is trained with the model.
        config: Configuration of the model.

    Raises:
        TypeError: For other action spaces.
    """

    def __init__(
        self,
        space: spaces.Dict,
        action_space: spaces.Space[Any],
        encoder: Encoder,
        config: RSSMConfig | None = None,
    ):
        super().__init__()
        c = self.config = config or RSSMConfig()
        self.action_space, self.encoder = action_space, encoder
        self.action_dim = action_width(action_space)
        embed = encoder.num_tokens * encoder.dim
        self.feature_dim = c.deter + c.stoch * c.classes
        self.recurrent = BlockGRU(c.deter, (c.stoch * c.classes, self.action_dim), c.units, c.blocks)
        self.prior_net = mlp(c.deter, (c.units, c.units), c.stoch * c.classes, rms_layer)
        self.posterior_net = mlp(c.deter + embed, (c.units,), c.stoch * c.classes, rms_layer)
        self.decoder = Decoder(space, self.feature_dim, c.units, c.depth)
        self.two_hot = TwoHot()
        self.reward_net = zeroed(mlp(self.feature_dim, (c.units,), len(self.two_hot.bins), rms_layer))
        self.cont_net = mlp(self.feature_dim, (c.units,), 1, rms_layer)

    def initial(self, n: int) -> State:
        c, like = self.config, self.two_hot.bins
        return {"deter": like.new_zeros(n, c.deter), "stoch": like.new_zeros(n, c.stoch, c.classes)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """Update the state with one observation. `action` led to it; where `first`, state and action are ignored."""
        return self.posterior(state, self.embed(obs), self.encode_action(action), first)[0]

    def imagine(self, state: State, action: Tensor) -> State:
        deter = self.recurrent(state["deter"], state["stoch"].flatten(-2), self.encode_action(action))
        return {"deter": deter, "stoch": sample(self.logits(self.prior_net(deter)))}

    def predict(self, state: State) -> Prediction:
        """Return reward and cont (*B,) and features (*B, F). Use `decode` for observations."""
        features = self.features(state)
        reward = self.two_hot.mean(self.reward_net(features))
        return {"reward": reward, "cont": torch.sigmoid(self.cont_net(features)[..., 0]), "features": features}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Decode states to observations with the observation space's shapes."""
        return self.decoder(self.features(state))

    def features(self, state: State) -> Tensor:
        """Concatenate the parts of a state: (*B, F)."""
        return torch.cat([state["deter"], state["stoch"].flatten(-2)], -1)

    def embed(self, obs: Mapping[str, Any]) -> Tensor:
        """Return the encoder's tokens, flattened to (*B, num_tokens * dim)."""
        return self.encoder(obs).flatten(-2)

    def encode_action(self, action: Tensor) -> Tensor:
        """Encode actions as `actions.encode_action` does, with magnitudes above 1 scaled to 1."""
        encoded = encode_action(action, self.action_space)
        return encoded / encoded.detach().abs().clamp_min(1.0)

    def logits(self, raw: Tensor) -> Tensor:
        """Turn raw outputs (*B, S * C) into log-probabilities (*B, S, C), mixed with a uniform share of `unimix`."""
        c = self.config
        probability = raw.unflatten(-1, (c.stoch, c.classes)).softmax(-1)
        return ((1 - c.unimix) * probability + c.unimix / c.classes).log()

    def posterior(self, state: State, embed: Tensor, action: Tensor, first: Tensor) -> tuple[State, Tensor]:
        """Return the next state given the embedded observation, and the posterior's log-probabilities."""
        keep = (~first.bool()).float()[..., None]
        deter = self.recurrent(state["deter"] * keep, state["stoch"].flatten(-2) * keep, action * keep)
        logits = self.logits(self.posterior_net(torch.cat([deter, embed], -1)))
        return {"deter": deter, "stoch": sample(logits)}, logits

    def unroll(self, batch: Mapping[str, Any], state: State | None = None) -> tuple[State, Tensor]:
        """Return the states (T, B, ...) after each row of (T, B, ...) and the posteriors' log-probabilities."""
        embed, action = self.embed(batch["obs"]), self.encode_action(batch["action"])
        before = torch.cat([torch.zeros_like(action[:1]), action[:-1]])  # the action that led to each row
        state = state or self.initial(embed.shape[1])
        states, logits = [], []
        for t in range(len(embed)):
            state, post = self.posterior(state, embed[t], before[t], batch["first"][t])
            states.append(state)
            logits.append(post)
        return stack(states, 0), torch.stack(logits)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of rows (T, B, ...).

        Returns:
            The scalar loss, and its terms to log.
        """
        states, post = self.unroll(batch)
        return self.loss_of(states, post, batch)

    def loss_of(self, states: State, post: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of states (T, B, ...) and posterior log-probabilities from `unroll` (Hafner et al. 2023)."""
        c, features = self.config, self.features(states)
        prior = self.logits(self.prior_net(states["deter"]))
        dyn, rep = kl(post.detach(), prior), kl(post, prior.detach())  # (T, B)
        target = (~batch["terminal"].bool()).float() * (1 - 1 / c.discount_horizon)
        parts = {f"rec/{key}": value for key, value in self.decoder.loss(features, batch["obs"]).items()}
        parts["rew"] = self.two_hot.loss(self.reward_net(features), batch["reward"].float())
        parts["con"] = F.binary_cross_entropy_with_logits(self.cont_net(features)[..., 0], target, reduction="none")
        parts["dyn"] = c.dyn_scale * dyn.clamp_min(c.free_nats)
        parts["rep"] = c.rep_scale * rep.clamp_min(c.free_nats)
        means = {f"loss/{key}": value.mean() for key, value in parts.items()}
        total = torch.stack(list(means.values())).sum()
        return total, {**means, "kl": dyn.mean(), "prior_entropy": entropy(prior).mean()}


def sample(logits: Tensor) -> Tensor:
    """Sample one-hot vectors (*B, S, C), with the straight-through gradient of the probabilities."""
    probability = logits.exp()
    noise = torch.empty_like(probability).exponential_()
    drawn = (probability.detach() / noise).argmax(-1)  # what torch.multinomial does, with any batch axes
    return F.one_hot(drawn, logits.shape[-1]).float() + probability - probability.detach()


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL divergence [nat] between log-probabilities p and q (*B, S, C), summed over the variables: (*B,)."""
    return (p.exp() * (p - q)).sum((-2, -1))


def entropy(p: Tensor) -> Tensor:
    """Entropy [nat] of log-probabilities (*B, S, C), summed over the variables: (*B,)."""
    return -(p.exp() * p).sum((-2, -1))
