"""The base class of SB3's algorithms: encoder, `train()`, weights and resume."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from embodia.agents import Agent, Array, Numbers
from embodia.agents.reinforcement.sb3.networks import Features
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder


class SB3Agent(Agent):
    """Base class for an SB3 algorithm. `encoder.space` is the observation space.

    Raises:
        ValueError: if the algorithm does not support the action space, or the encoder's output has another shape than
            its `num_tokens` and `dim` say.
    """

    model: Any
    supported: tuple[type, ...] = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: Any):
        if not isinstance(action_space, self.supported):
            names = ", ".join(kind.__name__ for kind in self.supported)
            raise ValueError(f"{type(self).__name__} supports {names} action spaces, not {action_space}")
        self.config, self.encoder_keys = config, encoder.keys
        self.observation_space, self.action_space = encoder.space, action_space
        self.device = choose_device(config.device)
        self.rng = np.random.default_rng(config.seed)
        self.rows = 0  # acted on in training, over all worlds
        check_encoder(encoder)
        weights = copy.deepcopy(encoder.state_dict())
        self.model = self._algorithm(
            env=None,  # our loop steps the environments
            learning_rate=self._learning_rate(),
            policy_kwargs={
                "net_arch": list(config.hidden),
                "features_extractor_class": Features,
                "features_extractor_kwargs": {"encoder": encoder},
            },
            device=self.device,
            _init_setup_model=False,
        )
        self.model.observation_space, self.model.action_space = encoder.space, action_space
        self.model.n_envs = 1
        self.model._setup_model()
        encoder.load_state_dict(weights)  # SB3 initialises all layers; an encoder may be pretrained
        self.model.set_logger(Logger(None, []))
        self.policy.set_training_mode(False)

    def _algorithm(self, **shared: Any) -> Any:
        """Make the SB3 algorithm from these arguments and those in the configuration."""
        raise NotImplementedError

    @property
    def policy(self) -> BasePolicy:
        return self.model.policy

    def _see(self, obs: Mapping[str, Array]) -> dict[str, Tensor]:
        return {key: to_torch(obs[key], self.device) for key in self.encoder_keys}

    def _learning_rate(self) -> Any:
        """The learning rate, as SB3's linear schedule over `anneal_rows` if that is set."""
        rate = self.config.learning_rate
        return (lambda remaining: rate * remaining) if self.config.anneal_rows else rate

    def _learn(self, *args: Any) -> Numbers:
        """Call SB3's `train()` and return the numbers it logs."""
        if self.config.anneal_rows:
            self.model._current_progress_remaining = max(0.0, 1 - self.rows / self.config.anneal_rows)
        self.model.train(*args)
        self.policy.set_training_mode(False)
        logged = self.model.logger.name_to_value
        numbers = {name: float(value) for name, value in logged.items()}
        logged.clear()
        return numbers

    def save(self, folder: Path) -> None:
        save_weights(self.policy, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.policy, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.policy.optimizer.state_dict(),
            "updates": self.model._n_updates,
            "rows": self.rows,
            "rng": self.rng.bit_generator.state,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.policy.optimizer.load_state_dict(state["optimizer"])
        self.model._n_updates, self.rows = state["updates"], state["rows"]
        self.rng.bit_generator.state = state["rng"]


def check_encoder(encoder: nn.Module) -> None:
    """Check the shape of an encoder's output on two observations of zeros.

    Raises:
        ValueError: if it is not (2, num_tokens, dim); the message names the encoder and both shapes.
    """
    assert isinstance(encoder, Encoder)
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    zeros = {
        key: torch.as_tensor(np.zeros((2, *(encoder.space[key].shape or ())), encoder.space[key].dtype), device=device)
        for key in encoder.keys
    }
    training = encoder.training
    with torch.no_grad():
        tokens = encoder.eval()(zeros)  # zeros must not move running statistics
    encoder.train(training)
    promised = (2, encoder.num_tokens, encoder.dim)
    if tuple(tokens.shape) != promised:
        raise ValueError(
            f"{type(encoder).__name__} returns shape {tuple(tokens.shape)} for two observations, expected {promised} "
            "(batch, num_tokens, dim); correct its forward, or its num_tokens and dim"
        )
