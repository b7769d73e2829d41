"""Proximal policy optimization (Schulman et al. 2017), with optional memory, action masks and mixed precision.

One rollout of n_steps rows of every environment is used for n_epochs epochs of minibatches, then thrown away. With
SB3's batch and epochs it learns as SB3's PPO does (same losses, initialisation and optimizer); it is made for many
environments and large batches.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers
from embodia.agents.policy import Memory, PolicyModule
from embodia.agents.reinforcement.action_distributions import MASKED, action_distribution
from embodia.agents.training import distributed
from embodia.agents.training.buffers.rollout import RolloutBuffer
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder, Obs
from embodia.perception.global_batch import part_of_batch
from embodia.planners.trees import index, tree_map


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimization (Schulman et al. 2017)."""

    seed: int = 0
    """Random seed of sampled actions and of minibatches; the weights depend on the run's seed."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the policy, and of the value network, after the encoder."""
    memory: int = 0
    """Size of the GRU memory between encoder and hidden layers; 0 for none."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    anneal_rows: int = 0
    """Rows (over all environments) over which the learning rate falls to 0; 0 keeps it constant."""
    n_steps: int = 128
    """Steps of each environment per rollout."""
    batch_size: int = 256
    """Transitions per minibatch; with memory, minibatches of whole environments with about as many."""
    n_epochs: int = 4
    """Epochs per rollout."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    normalize_advantage: bool = True
    """Normalize advantages over each minibatch. False suits rewards that are rare: while there are none, a normalized
    advantage is the value network's noise at full strength, and the policy drifts."""
    clip_range: float = 0.2
    """Clipping range of the probability ratio."""
    ent_coef: float = 0.01
    """Entropy coefficient."""
    vf_coef: float = 0.5
    """Value loss coefficient."""
    max_grad_norm: float = 0.5
    """Maximum gradient norm (gradients are clipped to it)."""
    target_kl: float | None = None
    """Stop the epochs of a rollout early if the KL divergence exceeds 1.5 times this value; None for no limit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks' arithmetic in updates; weights stay float32."""

    def problems(self, num_envs: int) -> Iterator[str]:
        """Yield messages about settings that cannot work with this number of parallel environments."""
        rows = self.n_steps * num_envs
        if self.batch_size > rows:
            yield f"agent.batch_size is {self.batch_size}, but a rollout is agent.n_steps x env.num_envs = {rows} rows"


class ActorCritic(nn.Module):
    """Encoder, optional memory, and separate hidden layers of policy and value."""

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], hidden: tuple[int, ...], memory: int):
        super().__init__()
        self.encoder = encoder
        width = encoder.num_tokens * encoder.dim
        self.memory = Memory(width, memory) if memory else None
        width = memory or width
        self.distribution = action_distribution(action_space)
        self.actor = tanh_mlp(width, hidden, self.distribution.parameters_needed, gain=0.01)
        self.critic = tanh_mlp(width, hidden, 1, gain=1.0)

    def initial(self, n: int) -> Carry:
        """Zero memory of n environments; {} without one."""
        if self.memory is None:
            return {}
        return {"memory": torch.zeros(n, self.memory.size, device=next(self.parameters()).device)}

    def step(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Tensor, Carry]:
        """obs (n, ...), first (n,) -> parameters of the distribution (n, P), value (n,), carry."""
        x = self.encoder(obs).flatten(-2)
        if self.memory is not None:
            x = self.memory.step(x, carry["memory"], first)
            carry = {"memory": x}
        return self.actor(x), self.critic(x)[..., 0], carry

    def forward(self, obs: Obs, first: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows (T, n, ...) with the memory `before` (n, M) the first, or without memory any batch axes.

        Returns the parameters of the distribution (*B, P) and values (*B,).
        """
        x = self.encoder(obs).flatten(-2)
        if self.memory is not None:
            assert before is not None
            x = self.memory(x, before, first)
        return self.actor(x), self.critic(x)[..., 0]


class MostLikely(PolicyModule):
    """The policy in evaluation, for export: the most likely action that `obs["action_mask"]`, if given, allows."""

    def __init__(self, nets: ActorCritic):
        super().__init__(nets.encoder.keys)
        self.nets = nets

    def forward(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        parameters, _, carry = self.nets.step(obs, carry, first)
        if "action_mask" in obs:
            parameters = torch.where(obs["action_mask"], parameters, MASKED)
        distribution = self.nets.distribution
        return distribution.executed(distribution.mode(parameters)), carry


def tanh_mlp(inputs: int, hidden: tuple[int, ...], outputs: int, gain: float) -> nn.Sequential:
    """Tanh layers with orthogonal weights, and a linear layer whose weights are scaled by `gain`, as SB3's."""
    modules: list[nn.Module] = []
    for width in hidden:
        modules += [orthogonal(nn.Linear(inputs, width), math.sqrt(2)), nn.Tanh()]
        inputs = width
    return nn.Sequential(*modules, orthogonal(nn.Linear(inputs, outputs), gain))


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class PPO(Agent):
    """Proximal policy optimization (Schulman et al. 2017).

    If the environment gives `info["action_mask"]`, (n, actions) bool, actions that it forbids are never chosen.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        config: hyperparameters.

    Raises:
        ValueError: if the action space is not supported, or `batch_size` is below 2.
    """

    parallel = True

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: PPOConfig | None = None):
        self.config = c = config or PPOConfig()
        if c.batch_size < 2:
            raise ValueError("batch_size must be at least 2, because advantages are normalized over a minibatch")
        self.observation_space, self.action_space = encoder.space, action_space
        self.device = choose_device(c.device)
        self.nets = ActorCritic(encoder, action_space, c.hidden, c.memory).to(self.device)
        self.optimizer = torch.optim.Adam(self.nets.parameters(), c.learning_rate, eps=1e-5, fused=True)
        self.generator = torch.Generator(self.device).manual_seed(c.seed)
        self.rows = 0  # acted on in training, over all environments

    def initial(self, n: int) -> Carry:
        return self.nets.initial(n)

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """In training a sampled action, with what `update` needs in extras; in evaluation the most likely one."""
        distribution = self.nets.distribution
        seen = to_torch({key: obs[key] for key in self.nets.encoder.keys}, self.device)
        parameters, value, after = self.nets.step(seen, carry, torch.as_tensor(first, device=self.device))
        mask = obs.get("action_mask")
        if mask is not None:
            parameters = distribution.masked(parameters, torch.as_tensor(mask, dtype=torch.bool, device=self.device))
        if mode == "eval":
            return self.to_space(distribution.mode(parameters)), after, {}
        self.rows += len(first) * distributed.processes()
        action = distribution.sample(parameters, self.generator)
        extras = {"value": value, "log_prob": distribution.log_prob(parameters, action), "sampled": action}
        kept = {name: tensor.cpu().numpy() for name, tensor in {**extras, **carry}.items()}  # the memory before
        if mask is not None:
            kept["action_mask"] = np.asarray(mask, bool)
        return self.to_space(action), after, kept

    def to_space(self, sample: Tensor) -> Array:
        """Convert samples (n, A) of the distribution to actions (n, ...) of the action space."""
        return self.nets.distribution.executed(sample).cpu().numpy().astype(self.action_space.dtype)

    def policy_module(self) -> PolicyModule:
        return MostLikely(self.nets)

    def buffer(self) -> RolloutBuffer:
        c = self.config
        return RolloutBuffer(c.n_steps, c.gamma, c.gae_lambda, keys=self.nets.encoder.keys)

    def update(self, batch: Batch) -> Numbers:
        """Learn from one rollout (T, n, ...) of all environments for `n_epochs` epochs."""
        self.set_learning_rate()
        table = to_torch(
            {
                "obs": batch["obs"],
                "first": batch["first"],
                "valid": batch["valid"],
                "advantage": batch["advantage"],
                "return": batch["return"],
                **batch["extras"],
            },
            self.device,
        )
        logged: list[dict[str, Tensor]] = []
        for part in self.minibatches(table):
            self.optimizer.zero_grad(set_to_none=True)
            loss, numbers = self.loss(part)
            loss.backward()
            numbers = distributed.averaged(self.nets.parameters(), numbers)
            logged.append(numbers)
            if self.config.target_kl is not None and numbers["approx_kl"] > 1.5 * self.config.target_kl:
                break
            nn.utils.clip_grad_norm_(self.nets.parameters(), self.config.max_grad_norm)
            self.optimizer.step()
        means = {name: torch.stack([numbers[name] for numbers in logged]).mean() for name in logged[0]}
        valid = batch["valid"]
        return {**means, "explained_variance": explained(batch["extras"]["value"][valid], batch["return"][valid])}

    def set_learning_rate(self) -> None:
        left = max(0.0, 1 - self.rows / self.config.anneal_rows) if self.config.anneal_rows else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * left

    def minibatches(self, table: Any) -> Iterator[Any]:
        """Shuffled minibatches, `n_epochs` times: transitions (B, ...), with memory whole environments (T, b, ...).

        Advantages are normalized over a minibatch, which the processes share; `number` is its number of transitions.
        """
        steps, worlds = table["valid"].shape
        if self.nets.memory is None:
            table = index(tree_map(lambda leaf: leaf.flatten(0, 1), table), table["valid"].flatten())
            size, axis, count = self.config.batch_size, 0, len(table["valid"])
        else:
            size, axis, count = max(1, self.config.batch_size // steps), 1, worlds
        for _ in range(self.config.n_epochs):
            order = torch.randperm(count, generator=self.generator, device=self.device)
            for chosen in order.split(size):
                if len(chosen) > 1 or count == 1 or axis == 1:  # one advantage alone cannot be normalized
                    valid, advantage = (table[key].index_select(axis, chosen) for key in ("valid", "advantage"))
                    whole = advantage[valid]
                    mine = chosen.tensor_split(distributed.processes())[distributed.rank()]
                    some = mine if len(mine) else chosen[:1]
                    part = tree_map(lambda leaf, some=some: leaf.index_select(axis, some), table)
                    part["valid"] &= len(mine) > 0  # a process without a part computes on one that does not count
                    if self.config.normalize_advantage:
                        part["advantage"] = (part["advantage"] - whole.mean()) / (whole.std() + 1e-8)
                    yield {**part, "number": len(whole)}

    def loss(self, part: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The clipped objective, the value loss and the entropy bonus of a minibatch, and numbers to log."""
        c, valid = self.config, part["valid"]
        mean = partial(distributed.mean, number=part["number"])
        before = part["memory"][0] if "memory" in part else None
        with self.autocast(), part_of_batch(0):
            parameters, value = self.nets(part["obs"], part["first"], before)
        parameters, value = parameters.float(), value.float()
        if "action_mask" in part:
            parameters = self.nets.distribution.masked(parameters, part["action_mask"])
        log_ratio = (self.nets.distribution.log_prob(parameters, part["sampled"]) - part["log_prob"])[valid]
        ratio = log_ratio.exp()
        advantage = part["advantage"][valid]
        clipped = ratio.clamp(1 - c.clip_range, 1 + c.clip_range)
        policy_loss = -mean(torch.minimum(ratio * advantage, clipped * advantage))
        value_loss = mean((part["return"] - value)[valid].square())
        entropy = mean(self.nets.distribution.entropy(parameters)[valid])
        loss = policy_loss + c.vf_coef * value_loss - c.ent_coef * entropy
        with torch.no_grad():
            numbers = {
                "loss/policy": policy_loss,
                "loss/value": value_loss,
                "entropy": entropy,
                "approx_kl": mean(ratio - 1 - log_ratio),  # Schulman's estimator, never negative
                "clip_fraction": mean(((ratio - 1).abs() > c.clip_range).float()),
            }
        return loss, {name: number.detach() for name, number in numbers.items()}

    def autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def save(self, folder: Path) -> None:
        save_weights(self.nets, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.nets, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "rows": self.rows,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.rows = state["rows"]


def explained(value: Array, returns: Array) -> float:
    """Share of the returns' variance that the values explain; 0 if the returns do not vary."""
    variance = returns.var()
    return float(1 - (returns - value).var() / variance) if variance > 0 else 0.0
