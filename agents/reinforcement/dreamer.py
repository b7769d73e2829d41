"""Dreamer: an actor and a critic that learn in the imagination of a world model (Hafner et al. 2023, DreamerV3)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers, Pieces
from embodia.agents.reinforcement.actor_critic import Actor, lambda_returns
from embodia.agents.reinforcement.laprop import LaProp
from embodia.agents.training.buffers.train_ratio import TrainRatioReplay
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder
from embodia.perception.encoders.mlp import mlp, zeroed
from embodia.planners.models.actions import unit_action
from embodia.planners.models.networks import rms_layer
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.two_hot import TwoHot


@dataclass(frozen=True)
class DreamerConfig:
    """Dreamer (V3). The paper's values, but for sizes and the train ratio, which are for a CPU."""

    seed: int = 0
    """Of the replay's draws."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    model: RSSMConfig = RSSMConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 16
    sequence_length: int = 32
    """Rows of a sequence."""
    buffer_size: int = 200_000
    """Rows kept, over all worlds."""
    learning_starts: int = 1000
    train_ratio: float = 128.0
    """Replayed rows per row of experience."""
    learning_rate: float = 3e-4
    warmup: int = 200
    """Updates over which the learning rate rises from 0."""
    agc: float = 0.3
    """Adaptive gradient clipping: greatest norm of each parameter's gradient, as a share of the parameter's norm."""
    imagination_horizon: int = 15
    """Steps imagined from each row."""
    imagination_last: int = 0
    """Number of last rows of each sequence that imagination starts from; 0 for all of them."""
    gae_lambda: float = 0.95
    """Decay of the lambda-returns that actor and critic learn from."""
    ent_coef: float = 3e-4
    """Weight of the actor's entropy."""
    unimix: float = 0.01
    tau: float = 0.02
    """How far the slow critic, which regularises the critic, moves at each update."""
    return_rate: float = 0.01
    """Of the running percentiles of returns, by whose range advantages are divided."""
    replay_value_scale: float = 0.3
    """Weight of the critic's loss on replayed rather than imagined rows."""


class DreamerNets(nn.Module):
    """World model, actor and critic; the running range of returns is a buffer, so it is saved with them."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Dict, action_space: spaces.Space[Any], encoder: Encoder, config: DreamerConfig):
        super().__init__()
        seen = spaces.Dict({key: space[key] for key in encoder.keys})
        self.model = RSSM(seen, unit_actions(action_space), encoder, config.model)
        features, units = self.model.feature_dim, config.model.units
        self.actor = Actor(action_space, features, units, config.unimix)
        self.two_hot = TwoHot()
        self.critic = zeroed(mlp(features, (units, units), len(self.two_hot.bins), rms_layer))
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))


def unit_actions(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space in which the actor and the model live: a Box becomes [-1, 1], its bounds lie outside.

    Raises ValueError for a Box without bounds.
    """
    if not isinstance(space, spaces.Box):
        return space
    if not space.is_bounded():
        raise ValueError(f"actions in {space} have no bounds to be scaled to; wrap the environment")
    return spaces.Box(-1.0, 1.0, space.shape, np.float32)


class Dreamer(Agent):
    """Carry: the model's state and the last action. Continuous actions are [-1, 1] inside, scaled to the space."""

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        encoder: Encoder,
        config: DreamerConfig | None = None,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or DreamerConfig()
        self.device = choose_device(self.config.device)
        self.nets = DreamerNets(observation_space, action_space, encoder, self.config).to(self.device)
        self.keys, self.is_discrete = encoder.keys, isinstance(action_space, spaces.Discrete)
        trained = [p for p in self.nets.parameters() if p.requires_grad]
        self.optimizer = LaProp(trained, self.config.learning_rate, clip=self.config.agc, warmup=self.config.warmup)

    @property
    def model(self) -> RSSM:
        return self.nets.model

    def initial(self, n: int) -> Carry:
        shape = (n,) if self.is_discrete else (n, *(self.action_space.shape or ()))
        dtype = torch.int64 if self.is_discrete else torch.float32
        return {**self.nets.model.initial(n), "action": torch.full(shape, self.start, dtype=dtype, device=self.device)}

    @property
    def start(self) -> int:
        """The lowest discrete action."""
        return int(getattr(self.action_space, "start", 0))

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        model = self.nets.model
        state = {"deter": carry["deter"], "stoch": carry["stoch"]}
        flags = torch.as_tensor(first, device=self.device)
        seen = to_torch({key: obs[key] for key in self.keys}, self.device)
        state = model.observe(state, seen, carry["action"], flags)
        chosen = self.nets.actor.choose(model.features(state), mode)
        if self.is_discrete:
            chosen = chosen + self.start
        return self.to_space(chosen), {**state, "action": chosen}, {}

    def to_space(self, action: Tensor) -> Array:
        """[-1, 1] -> the Box's range; class indices as they are."""
        if self.is_discrete:
            return action.cpu().numpy()
        box = self.action_space
        assert isinstance(box, spaces.Box)
        unit = action.clamp(-1, 1).cpu().numpy()
        return (box.low + (unit + 1) / 2 * (box.high - box.low)).astype(box.dtype)

    def from_space(self, action: Tensor) -> Tensor:
        """The inverse of `to_space` for replayed actions."""
        if self.is_discrete:
            return action
        return unit_action(action, self.action_space)

    def buffer(self) -> TrainRatioReplay:
        c = self.config
        return TrainRatioReplay(
            c.train_ratio, c.buffer_size, c.batch_size, c.sequence_length, c.learning_starts, c.seed, self.keys
        )

    def offline(self) -> Pieces:
        """The model learns from the rows, actor and critic in what it imagines from them."""
        return Pieces(self.config.batch_size, self.config.sequence_length, crossing=True, keys=self.keys)

    def update(self, batch: Batch) -> Numbers:
        rows = to_torch(
            {key: batch[key] for key in ("obs", "reward", "first", "last", "terminal", "action")}, self.device
        )
        rows["action"] = self.from_space(rows["action"])
        self.optimizer.zero_grad(set_to_none=True)
        states, posterior = self.nets.model.unroll(rows)
        model_loss, numbers = self.nets.model.loss_of(states, posterior, rows)
        behaviour_loss, more = self.learn_behaviour(states, rows)
        (model_loss + behaviour_loss).backward()
        self.optimizer.step()
        self.move_slow_critic()
        return {name: value.detach() for name, value in {**numbers, **more}.items()}

    def learn_behaviour(
        self, states: Mapping[str, Tensor], rows: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Actor and critic on imagined futures of replayed states, and the critic on the replay itself."""
        c, nets = self.config, self.nets
        states = {key: value[-c.imagination_last :] for key, value in states.items()}
        rows = {key: rows[key][-c.imagination_last :] for key in ("reward", "terminal", "last")}
        start = {key: value.detach().flatten(0, 1) for key, value in states.items()}
        features, actions = self.imagine(start)  # (H + 1, N, F), (H + 1, N, ...)
        said = self.assess(features)
        alive = (~rows["terminal"].bool()).float().flatten()
        weight = torch.cat([alive[None], alive * said["cont"][1:]]).cumprod(0)[:-1].detach()  # (H, N)
        returns = lambda_returns(said["reward"], said["cont"], said["value"], c.gae_lambda)
        scale = self.return_scale(returns)
        advantage = (returns - said["value"][:-1]) / scale
        policy = nets.actor(features[:-1])
        actor_loss = -(weight * (policy.log_prob(actions[:-1]) * advantage + c.ent_coef * policy.entropy())).mean()
        critic_loss = (weight * self.critic_loss(features[:-1], returns)).mean()
        replay_loss = self.replay_value_loss(states, rows, returns[0])
        total = actor_loss + critic_loss + c.replay_value_scale * replay_loss
        return total, {
            "loss/actor": actor_loss,
            "loss/critic": critic_loss,
            "loss/replay_value": replay_loss,
            "entropy": policy.entropy().mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }

    @torch.no_grad()
    def imagine(self, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Follow the actor for `imagination_horizon` steps: features and actions of the states 0..H."""
        model, features, actions = self.nets.model, [], []
        for _ in range(self.config.imagination_horizon + 1):
            features.append(model.features(state))
            actions.append(self.nets.actor.choose(features[-1], "train"))
            state = model.imagine(state, actions[-1] + self.start if self.is_discrete else actions[-1])
        return torch.stack(features), torch.stack(actions)

    @torch.no_grad()
    def assess(self, features: Tensor) -> dict[str, Tensor]:
        """reward, cont, value of features (*B, F)."""
        nets = self.nets
        return {
            "reward": nets.two_hot.mean(nets.model.reward_net(features)),
            "cont": torch.sigmoid(nets.model.cont_net(features)[..., 0]),
            "value": nets.two_hot.mean(nets.critic(features)),
        }

    def return_scale(self, returns: Tensor) -> Tensor:
        """The range between the 5th and 95th percentile of returns, averaged over time, at least 1."""
        nets, rate = self.nets, self.config.return_rate
        quantiles = torch.tensor([0.05, 0.95], device=returns.device)
        low, high = torch.quantile(returns.flatten(), quantiles)
        nets.low.lerp_(low, rate)
        nets.high.lerp_(high, rate)
        return (nets.high - nets.low).clamp_min(1.0)

    def critic_loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Two-hot cross-entropy to the returns, and to the slow critic's own opinion."""
        logits = self.nets.critic(features)
        with torch.no_grad():
            slow = self.nets.two_hot.mean(self.nets.slow_critic(features))
        return self.nets.two_hot.loss(logits, target) + self.nets.two_hot.loss(logits, slow)

    def replay_value_loss(self, states: Mapping[str, Tensor], rows: Mapping[str, Any], imagined: Tensor) -> Tensor:
        """The critic on replayed rows, whose returns run over real rewards and end in imagined ones."""
        features = self.nets.model.features(dict(states))
        promised = imagined.view(features.shape[:2])  # from each row on
        cont = (~rows["terminal"].bool()).float() * (1 - 1 / self.config.model.discount_horizon)
        going_on = (~rows["last"].bool()).float()
        returns = lambda_returns(rows["reward"], cont, promised, going_on * self.config.gae_lambda)
        return (going_on[:-1] * self.critic_loss(features[:-1], returns)).mean()

    @torch.no_grad()
    def move_slow_critic(self) -> None:
        for slow, fast in zip(self.nets.slow_critic.parameters(), self.nets.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.tau)

    def save(self, folder: Path) -> None:
        save_weights(self.nets, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.nets, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
