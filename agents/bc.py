"""Behaviour cloning: do as the expert did, by maximum likelihood on its actions (Pomerleau 1991)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from safetensors.torch import load_file, save_file
from torch import Tensor

from agents import Agent, Array, Batch, Carry, Mode
from agents.buffers import DatasetBuffer
from agents.policy import Policy
from agents.rows import to_torch
from perception import Encoder


@dataclass(frozen=True)
class BCConfig:
    """Behaviour cloning. In training the expert drives and each row it drove through is a label."""

    seed: int = 0
    """Of the data set's shuffling and of drawn actions."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the layers between encoder (or memory) and head."""
    memory: int = 0
    """Size of the GRU that remembers the episode; 0 for none."""
    components: int = 5
    """Gaussians of the head of a continuous action space."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    clip: float = 1.0
    """Greatest norm of the gradient."""
    batch_size: int = 128
    """Rows per update; with memory, pieces of episodes."""
    sequence: int = 32
    """Rows of a piece, with memory."""
    learning_starts: int = 1000
    """Labels collected before the first update."""
    every: int = 64
    """Rows (of all worlds side by side) between two rounds of learning."""
    updates: int = 64
    """Updates in a round."""
    capacity: int | None = None
    """Rows kept at most, the oldest episodes going first; None keeps all."""


class BC(Agent):
    """Clones the expert from episodes the expert drives, or from recorded ones (`buffer().extend(rows)`).

    The label of a row is `extras["expert_action"]`, or the action taken where the rows hold no expert's.

    Args:
        encoder: reads the observations; its `space` is the agent's.
        action_space: Discrete, MultiDiscrete or Box.
        config: the settings.
        offline: learn from recorded rows only; the environment's expert is never asked.
    """

    def __init__(
        self, encoder: Encoder, action_space: Space[Any], config: BCConfig | None = None, *, offline: bool = False
    ):
        self.config = config or BCConfig()
        self.observation_space, self.action_space = encoder.space, action_space
        self.needs_expert = () if offline else ("train",)
        self.device = choose_device(self.config.device)
        c = self.config
        self.policy = Policy(encoder, action_space, c.hidden, c.memory, c.components).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), c.learning_rate, weight_decay=c.weight_decay, fused=True
        )
        self.generator = torch.Generator(self.device).manual_seed(c.seed)
        self.updates = 0

    def initial(self, n: int) -> Carry:
        return self.policy.initial(n)

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The expert's action in training (the carry stays as it is); else the policy's likeliest."""
        if mode in self.needs_expert:
            return np.asarray(obs["expert_action"]), carry, {}
        features, carry = self._features(obs, carry, first)
        return self._numpy(self.policy.head.mode(features)), carry, {}

    def _features(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> tuple[Tensor, Carry]:
        seen = to_torch({key: obs[key] for key in self.policy.encoder.keys}, self.device)
        return self.policy.step(seen, carry, torch.as_tensor(first, device=self.device))

    def _numpy(self, action: Tensor) -> Array:
        return action.cpu().numpy().astype(self.action_space.dtype)

    def buffer(self) -> DatasetBuffer:
        c = self.config
        return DatasetBuffer(
            c.batch_size,
            c.sequence if c.memory else None,
            every=c.every,
            updates=c.updates,
            learning_starts=c.learning_starts,
            capacity=c.capacity,
            seed=c.seed,
        )

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of AdamW on rows (B, ...) or pieces (T, B, ...) with `mask`; loss and accuracy (or error)."""
        obs = {key: batch["obs"][key] for key in self.policy.encoder.keys}
        label = batch["extras"].get("expert_action", batch["action"])
        rows = to_torch({"obs": obs, "label": label, "first": batch["first"]}, self.device)
        features = self.policy.features(rows["obs"], rows["first"])
        keep = torch.as_tensor(batch["mask"], device=self.device) if "mask" in batch else ...
        features, label = features[keep], rows["label"][keep]
        loss = self.policy.head.loss(features, label).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.clip)
        self.optimizer.step()
        self.updates += 1
        return {"loss": loss.item(), "gradient_norm": norm.item(), **self._agreement(features, label)}

    @torch.no_grad()
    def _agreement(self, features: Tensor, label: Tensor) -> dict[str, float]:
        """How far the policy's likeliest action is the expert's."""
        action = self.policy.head.mode(features)
        if label.dtype.is_floating_point:
            return {"error": (action - label).abs().mean().item()}
        return {"accuracy": (action == label).float().mean().item()}

    def save(self, folder: Path) -> None:
        save_file({key: value.contiguous() for key, value in self.policy.state_dict().items()}, self._file(folder))

    def load(self, folder: Path) -> None:
        self.policy.load_state_dict(load_file(self._file(folder), device=str(self.device)))

    @staticmethod
    def _file(folder: Path) -> Path:
        return Path(folder) / "agent.safetensors"

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]


def choose_device(name: str) -> torch.device:
    """ "auto" is cuda where there is one, else cpu.

    Raises:
        ValueError: for cuda without a CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch sees no CUDA device; use device=auto or device=cpu")
    return torch.device(name)
