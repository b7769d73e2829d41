"""Behaviour cloning: maximum likelihood of the expert's actions (Pomerleau 1991)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from torch import Tensor

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers, Pieces
from embodia.agents.heads import ClassHead
from embodia.agents.policy import Policy, PolicyModule
from embodia.agents.training import distributed
from embodia.agents.training.buffers.dataset import DatasetBuffer
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder, Obs
from embodia.perception.global_batch import part_of_batch

NOISE_STEPS = 4096


@dataclass(frozen=True)
class BCConfig:
    """Behaviour cloning. In training the expert acts, and each of its actions is a label."""

    seed: int = 0
    """Random seed of the data set's shuffling and of sampled actions."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the layers between encoder (or memory) and head."""
    memory: int = 0
    """Size of the GRU memory; 0 for none."""
    memory_skip: bool = False
    """Feed the encoder's tokens to the head in addition to the memory; learns faster."""
    temperature: float = 0.0
    """Softmax temperature in evaluation. 0 takes the most likely action; above 0, actions are sampled. Sampling avoids
    endless loops, such as turning left and right in front of a wall."""
    components: int = 5
    """Number of Gaussians of the head of a continuous action space."""
    learning_rate: float = 1e-3
    """AdamW's learning rate."""
    warmup: int = 50
    """Updates over which the learning rate rises from 0."""
    anneal_rows: int = 0
    """Rows (over all environments) after which the learning rate has fallen to a fiftieth; it falls over the second
    half of them. 0 keeps it constant."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    clip: float = 1.0
    """Maximum gradient norm (gradients are clipped to it)."""
    batch_size: int = 128
    """Rows per update, or sequences per update if `sequence_length` is set."""
    sequence_length: int | None = None
    """Consecutive rows in a sequence, over which the memory is trained. None: 32 with memory, otherwise single rows.
    With encoders that read a map once for all rows that share it (`SymbolGridCNN`), sequences are several times
    faster."""
    learning_starts: int = 1000
    """Labels collected before the first update."""
    train_freq: int = 64
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 64
    """Updates per round."""
    buffer_size: int | None = None
    """Maximum number of rows kept; the oldest episodes are removed first. None keeps all."""


class EvaluationPolicy(PolicyModule):
    """The policy in evaluation: the most likely action, or one sampled at `temperature`.

    Args:
        policy: the network.
        temperature: softmax temperature of sampled actions.
        noise: Gumbel noise (steps, classes): step t of every episode uses row t. None takes the most likely action.
    """

    def __init__(self, policy: Policy, temperature: float, noise: Tensor | None):
        super().__init__(policy.encoder.keys)
        self.policy, self.temperature = policy, temperature
        self.register_buffer("noise", noise, persistent=False)

    noise: Tensor | None

    def initial(self, n: int) -> Carry:
        """The policy's memory, and the step in the episode if actions are sampled."""
        carry = self.policy.initial(n)
        if self.noise is None:
            return carry
        return {**carry, "step": torch.zeros(n, dtype=torch.int64, device=self.noise.device)}

    def forward(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        """obs (n, ...), the carry and first (n,) -> actions (n, ...) and the new carry."""
        features, after = self.policy.step(obs, carry, first)
        head = self.policy.head
        if self.noise is None:
            return head.mode(features), after
        assert isinstance(head, ClassHead)
        step = torch.where(first, 0, carry["step"])
        action = head.temper(features, self.temperature, self.noise[step % NOISE_STEPS])
        return action, {**after, "step": step + 1}


class BC(Agent):
    """Behaviour cloning from the expert's own episodes, or from recorded ones.

    The label of a row is `extras["expert_action"]`, or the action taken if the rows have no expert action. If the rows
    store the memory (`extras["memory"]`), a sequence starts from it, otherwise from zero memory.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space.
        action_space: Discrete, MultiDiscrete or Box.
        config: hyperparameters.
    """

    needs_expert: tuple[Mode, ...] = ("train",)
    parallel = True

    def __init__(self, encoder: Encoder, action_space: Space[Any], config: BCConfig | None = None):
        self.config = config or BCConfig()
        if self.config.memory and self.config.sequence_length == 1:
            raise ValueError("memory is trained on sequences; set sequence_length to 2 or more, or omit it")
        self.observation_space, self.action_space = encoder.space, action_space
        self.device = choose_device(self.config.device)
        c = self.config
        self.policy = Policy(encoder, action_space, c.hidden, c.memory, c.components, c.memory_skip).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), c.learning_rate, weight_decay=c.weight_decay, fused=True
        )
        self.generator = torch.Generator(self.device).manual_seed(c.seed)
        self.evaluation = EvaluationPolicy(self.policy, c.temperature, self._evaluation_noise())
        self.updates = 0
        self.rows = 0  # acted on in training

    def _evaluation_noise(self) -> Tensor | None:
        """Gumbel noise (steps, classes) for sampling in evaluation.

        Step t of every episode uses row t, so results are reproducible and independent of the other environments.
        """
        head = self.policy.head
        if not self.config.temperature:
            return None
        if not isinstance(head, ClassHead):
            raise ValueError(f"temperature applies to discrete actions only; set it to 0 for {self.action_space}")
        uniform = torch.rand(NOISE_STEPS, sum(head.sizes), generator=torch.Generator().manual_seed(self.config.seed))
        return -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6))).to(self.device)

    def policy_module(self) -> PolicyModule:
        return self.evaluation

    def initial(self, n: int) -> Carry:
        return self.evaluation.initial(n)

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The expert's action in training (the carry is unchanged); the policy's action in evaluation."""
        if mode in self.needs_expert:
            self.rows += len(first) * distributed.processes()
            return np.asarray(obs["expert_action"]), carry, {}
        return self._evaluated(obs, carry, first)

    def _evaluated(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> tuple[Array, Carry, dict[str, Array]]:
        action, after = self.evaluation(self._seen(obs), carry, torch.as_tensor(first, device=self.device))
        return self._numpy(action), after, {}

    def _features(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> tuple[Tensor, Carry]:
        features, after = self.policy.step(self._seen(obs), carry, torch.as_tensor(first, device=self.device))
        return features, {**carry, **after}

    def _seen(self, obs: Mapping[str, Array]) -> dict[str, Tensor]:
        return to_torch({key: obs[key] for key in self.policy.encoder.keys}, self.device)

    def _numpy(self, action: Tensor) -> Array:
        return action.cpu().numpy().astype(self.action_space.dtype)

    def buffer(self) -> DatasetBuffer:
        c = self.config
        return DatasetBuffer(
            c.batch_size,
            self.length,
            every=c.train_freq,
            updates=c.gradient_steps,
            learning_starts=c.learning_starts,
            capacity=c.buffer_size,
            seed=c.seed,
        )

    @property
    def length(self) -> int | None:
        """Number of rows in a sequence; None for single rows."""
        return self.config.sequence_length or (32 if self.config.memory else None)

    def offline(self) -> Pieces:
        return Pieces(self.config.batch_size, self.length, keys=self.policy.encoder.keys)

    def update(self, batch: Batch) -> Numbers:
        """One AdamW step on rows (B, ...) or sequences (T, B, ...) with `mask`; logs loss and accuracy (or error)."""
        obs = {key: batch["obs"][key] for key in self.policy.encoder.keys}
        label = batch["extras"].get("expert_action", batch["action"])
        rows = to_torch({"obs": obs, "label": label, "first": batch["first"]}, self.device)
        remembered = batch["extras"].get("memory")
        before = None if remembered is None else to_torch(remembered[0], self.device).float()
        with part_of_batch(rows["first"].shape[-1]):
            features = self.policy.features(rows["obs"], rows["first"], before)
        keep = torch.as_tensor(batch["mask"], device=self.device) if "mask" in batch else ...
        features, label = features[keep], rows["label"][keep]
        number = distributed.number_of_values(len(label))
        loss = distributed.mean(self.policy.head.loss(features, label), number)
        self._set_learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        told = {"loss": loss.detach(), **self._agreement(features, label, number)}
        numbers = distributed.averaged(self.policy.parameters(), told)
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.clip)
        self.optimizer.step()
        self.updates += 1
        return {**numbers, "gradient_norm": norm}

    def _set_learning_rate(self) -> None:
        rise = (self.updates + 1) / max(1, self.config.warmup)
        left = 1 - self.rows / self.config.anneal_rows if self.config.anneal_rows else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, rise, max(0.02, 2 * left))

    @torch.no_grad()
    def _agreement(self, features: Tensor, label: Tensor, number: int) -> Numbers:
        """Agreement of the most likely action with the label: accuracy, or mean absolute error if continuous.

        `number` is the number of labels in the batch, of all processes.
        """
        action = self.policy.head.mode(features)
        if label.dtype.is_floating_point:
            return {"error": distributed.mean((action - label).abs(), number * label.shape[1:].numel())}
        return {"accuracy": distributed.mean((action == label).float(), number * label.shape[1:].numel())}

    def save(self, folder: Path) -> None:
        save_weights(self.policy, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.policy, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
            "rows": self.rows,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.updates, self.rows = state["updates"], state["rows"]
