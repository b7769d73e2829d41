"""TD-MPC2's latent model (Hansen, Su & Wang 2024), which predicts only what planning needs.

z = h(o)                encoder
z' = d(z, a)            latent dynamics; observations are never decoded
r = R(z, a)             reward
q_k = Q_k(z, a)         an ensemble of critics
a ~ pi(z)               a policy, which proposes plans and gives the value after the horizon

Latents are simplices (SimNorm); rewards and returns are two-hot distributions in symlog space.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Encoder
from embodia.perception.encoders.mlp import zeroed
from embodia.planners import Prediction, State
from embodia.planners.models.actions import action_width, unit_action
from embodia.planners.models.two_hot import TwoHot


@dataclass(frozen=True)
class TDMPC2ModelConfig:
    """Model of TD-MPC2 (Hansen, Su & Wang 2024) at a size for CPUs; the paper's 5M model has latent_dim 512 and units
    512. The loss scales are the paper's.
    """

    latent_dim: int = 64
    """Width of the latent."""
    simnorm_dim: int = 8
    """Size of each simplex in the latent."""
    units: int = 128
    """Width of the hidden layers."""
    critics: int = 5
    """Number of critics in the ensemble."""
    num_bins: int = 101
    """Number of bins of the two-hot distributions."""
    vmax: float = 10.0
    """The outermost bins are symexp(-vmax) and symexp(vmax)."""
    dropout: float = 0.01
    """Dropout probability in the critics."""
    discount: float = 0.99
    """Discount factor."""
    rho: float = 0.5
    """Weight of each step of the horizon relative to the step before."""
    consistency_scale: float = 20.0
    """Weight of the latent consistency loss."""
    reward_scale: float = 0.1
    """Weight of the reward loss."""
    value_scale: float = 0.1
    """Weight of the value loss."""
    ent_coef: float = 1e-4
    """Entropy coefficient of the policy."""
    tau: float = 0.01
    """Update rate of the slow critics, which compute the TD targets."""


class TDMPC2Model(nn.Module):
    """World model with critics and a policy, for continuous actions (scaled to [-1, 1] inside).

    State: {"z": (*B, L), "reward": (*B,) of the action that led to it}.

    Args:
        action_space: A bounded Box (A,).
        encoder: Encoder of the observations; it is trained with the model.
        config: Configuration of the model.

    Raises:
        TypeError: For other action spaces.
    """

    low: Tensor
    high: Tensor

    def __init__(self, action_space: spaces.Space[Any], encoder: Encoder, config: TDMPC2ModelConfig | None = None):
        super().__init__()
        if not isinstance(action_space, spaces.Box) or not action_space.is_bounded():
            raise TypeError(f"TD-MPC2 acts in a bounded Box, not in {action_space}; for discrete actions use dreamer")
        c = self.config = config or TDMPC2ModelConfig()
        self.action_space, self.action_dim, self.encoder = action_space, action_width(action_space), encoder
        embed = encoder.num_tokens * encoder.dim
        both = c.latent_dim + self.action_dim
        self.project = nn.Sequential(layer(embed, c.units), nn.Linear(c.units, c.latent_dim), SimNorm(c.simnorm_dim))
        self.dynamics = nn.Sequential(body(both, c.units), nn.Linear(c.units, c.latent_dim), SimNorm(c.simnorm_dim))
        self.two_hot = TwoHot(c.num_bins, c.vmax)
        self.reward_net = zeroed(nn.Sequential(body(both, c.units), nn.Linear(c.units, c.num_bins)))
        self.critics = nn.ModuleList(
            zeroed(nn.Sequential(body(both, c.units, c.dropout), nn.Linear(c.units, c.num_bins)))
            for _ in range(c.critics)
        )
        self.slow_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.policy = nn.Sequential(body(c.latent_dim, c.units), nn.Linear(c.units, 2 * self.action_dim))
        self.register_buffer("low", torch.as_tensor(action_space.low, dtype=torch.float32))
        self.register_buffer("high", torch.as_tensor(action_space.high, dtype=torch.float32))

    def initial(self, n: int) -> State:
        like = self.two_hot.bins
        return {"z": like.new_zeros(n, self.config.latent_dim), "reward": like.new_zeros(n)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        """Return the latent of the newest observation. The model has no memory."""
        z = self.encode(obs)
        return {"z": z, "reward": z.new_zeros(z.shape[:-1])}

    def imagine(self, state: State, action: Tensor) -> State:
        return self.step(state["z"], unit_action(action.float(), self.action_space))

    def step(self, z: Tensor, action: Tensor) -> State:
        """Return the next state for z (*B, L) and action (*B, A) in [-1, 1]."""
        both = torch.cat([z, action], -1)
        return {"z": self.dynamics(both), "reward": self.two_hot.mean(self.reward_net(both))}

    def predict(self, state: State) -> Prediction:
        """Return the reward (*B,)."""
        return {"reward": state["reward"]}

    def value(self, state: State) -> Tensor:
        """Return the mean (*B,) of two critics for the policy's mean action.

        The paper samples the two critics in each call. Here they are fixed, so that plans are reproducible.
        """
        mean, _ = self.act(state["z"])
        both = torch.cat([state["z"], mean.tanh()], -1)
        return torch.stack([self.two_hot.mean(critic(both)) for critic in self.critics[:2]]).mean(0)

    @torch.no_grad()
    def propose(self, state: State, horizon: int, count: int) -> Tensor:
        """Return plans of the policy (B, count, horizon, A) in the range of the action space."""
        z, plan = state["z"].repeat_interleave(count, 0), []
        for _ in range(horizon):
            plan.append(self.sample(z)[0])
            z = self.step(z, plan[-1])["z"]
        unit = torch.stack(plan, 1).unflatten(0, (-1, count))
        return self.low + (unit + 1) / 2 * (self.high - self.low)

    def encode(self, obs: Mapping[str, Any]) -> Tensor:
        """Encode observations to latents (*B, L)."""
        return self.project(self.encoder(obs).flatten(-2))

    def act(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the policy's mean and log standard deviation (*B, A) before the tanh."""
        mean, raw = self.policy(z).chunk(2, -1)
        return mean, -10 + 0.5 * 12 * (raw.tanh() + 1)  # in [-10, 2]

    def sample(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Sample actions (*B, A) in [-1, 1]. Returns them and their log-density (*B,)."""
        mean, log_std = self.act(z)
        raw = mean + log_std.exp() * torch.randn_like(mean)
        normal = -0.5 * ((raw - mean) / log_std.exp()).square() - log_std - 0.9189385
        squash = 2 * (0.6931472 - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), without cancellation
        return raw.tanh(), (normal - squash).sum(-1)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of rows (T, B, ...), T > 1: consistency, reward and value, weighted by rho^t, within
        episodes.

        Returns:
            The scalar loss, and its terms to log.
        """
        return self.loss_of(batch)[:2]

    def loss_of(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """Compute `loss`, and return also the imagined latents (T, B, L) and their weights (T, B), on which the policy
        learns.
        """
        c = self.config
        action = unit_action(batch["action"].float(), self.action_space)
        with torch.no_grad():
            seen = self.encode({key: value[1:] for key, value in batch["obs"].items()})
            target = self.td_target(seen, batch["reward"][1:].float(), batch["terminal"][1:].bool())
        z = self.encode({key: value[0] for key, value in batch["obs"].items()})
        alive = (~batch["first"][1:].bool()).float().cumprod(0)  # whether the row belongs to the same episode
        weight = alive * c.rho ** torch.arange(len(alive), device=alive.device)[:, None]
        parts: dict[str, list[Tensor]] = {"consistency": [], "reward": [], "value": []}
        latents = [z]
        for t in range(len(seen)):
            both = torch.cat([z, action[t]], -1)
            z = self.dynamics(both)
            parts["consistency"].append((z - seen[t]).square().mean(-1))
            parts["reward"].append(self.two_hot.loss(self.reward_net(both), batch["reward"][t + 1].float()))
            values = [self.two_hot.loss(critic(both), target[t]) for critic in self.critics]
            parts["value"].append(torch.stack(values).mean(0))
            latents.append(z)
        means = {name: (weight * torch.stack(each)).sum() / len(weight) / weight.shape[1]
                 for name, each in parts.items()}  # fmt: skip
        scales = {"consistency": c.consistency_scale, "reward": c.reward_scale, "value": c.value_scale}
        total = torch.stack([scales[name] * value for name, value in means.items()]).sum()
        weight = torch.cat([torch.ones_like(weight[:1]), c.rho * weight])
        return total, {f"loss/{name}": value for name, value in means.items()}, torch.stack(latents), weight

    def td_target(self, z: Tensor, reward: Tensor, terminal: Tensor) -> Tensor:
        """Return r + discount * min of two slow critics, for latents (*B, L) of the next observations."""
        both = torch.cat([z, self.sample(z)[0]], -1)
        chosen = torch.randperm(len(self.slow_critics))[:2].tolist()
        value = torch.stack([self.two_hot.mean(self.slow_critics[k](both)) for k in chosen]).min(0).values
        return reward + self.config.discount * (~terminal).float() * value

    def policy_loss(self, z: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the policy loss: minus the critics' value over `scale`, minus the entropy; z (T, B, L) gets no
        gradient.
        """
        action, log_density = self.sample(z.detach())
        chosen = torch.randperm(len(self.critics))[:2].tolist()
        both = torch.cat([z.detach(), action], -1)
        value = torch.stack([self.two_hot.mean(self.critics[k](both)) for k in chosen]).mean(0)
        loss = (weight * (self.config.ent_coef * log_density - value / scale)).mean()
        return loss, {"loss/policy": loss, "entropy": -log_density.mean(), "value": value[0].detach()}

    @torch.no_grad()
    def move_slow_critics(self) -> None:
        """Update the slow critics, an exponential moving average of the critics."""
        for slow, fast in zip(self.slow_critics.parameters(), self.critics.parameters(), strict=True):
            slow.lerp_(fast, self.config.tau)


class SimNorm(nn.Module):
    """Softmax over groups of `size` values, which keeps latents bounded and sparse."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.size)).softmax(-1).flatten(-2)


def layer(inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Build Linear, LayerNorm and Mish."""
    extra = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Linear(inputs, outputs), *extra, nn.LayerNorm(outputs), nn.Mish())


def body(inputs: int, units: int, dropout: float = 0.0) -> nn.Sequential:
    """Build two hidden layers."""
    return nn.Sequential(layer(inputs, units, dropout), layer(units, units))
