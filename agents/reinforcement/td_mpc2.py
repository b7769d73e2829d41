"""TD-MPC2: plans by MPPI in a latent model trained by temporal-difference learning (Hansen, Su & Wang 2024)."""

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Batch, Buffer, Numbers, Pieces
from embodia.agents.reinforcement.mpc import MPC, ROWS, MPCSettings, detached
from embodia.agents.training.buffers.train_ratio import TrainRatioReplay
from embodia.agents.training.rows import to_torch
from embodia.perception import Encoder
from embodia.planners.models.td_mpc2 import TDMPC2Model, TDMPC2ModelConfig
from embodia.planners.search.mppi import MPPI
from embodia.planners.search.objective import Return


@dataclass(frozen=True)
class TDMPC2Config(MPCSettings):
    """TD-MPC2 with the paper's hyperparameters, except for sizes, samples and train ratio, chosen for a CPU."""

    learning_rate: float = 3e-4
    """Adam's learning rate."""
    encoder_lr_scale: float = 0.3
    """Learning rate of the encoder, relative to `learning_rate`."""
    clip: float = 20.0
    """Maximum gradient norm (gradients are clipped to it)."""
    batch_size: int = 256
    """Sequences per update."""
    train_ratio: float = 1024.0
    """Replayed rows per row of experience: 1024 is one update of 256 sequences of 4 rows."""
    learning_starts: int = 1000
    """Transitions with random actions before the first update."""
    exploration_noise: float = 0.3
    """Standard deviation of the noise on actions in training, in units of half their range. (The paper samples actions
    from the planner's last distribution instead.)"""
    horizon: int = 3
    """Planning horizon in steps, also in training."""
    samples: int = 128
    """Action sequences that the planner samples per iteration."""
    elites: int = 32
    """Number of best action sequences that the planner's next distribution is fitted to."""
    iterations: int = 4
    """Planner iterations."""
    proposals: int = 16
    """Action sequences of the policy among the planner's candidates."""
    temperature: float = 0.5
    """MPPI's temperature."""
    min_std: float = 0.05
    """Minimum standard deviation of the planner's action distribution."""
    return_rate: float = 0.01
    """Update rate of the running range of values, which scales the policy's loss."""
    model: TDMPC2ModelConfig = TDMPC2ModelConfig()  # noqa: RUF009 (frozen)


class Nets(TDMPC2Model):
    """The world model with the running range of its values, so that it is saved too."""

    scale: Tensor

    def __init__(self, action_space: spaces.Space[Any], encoder: Encoder, config: TDMPC2ModelConfig):
        super().__init__(action_space, encoder, config)
        self.register_buffer("scale", torch.ones(()))


class TDMPC2(MPC):
    """TD-MPC2 (Hansen, Su & Wang 2024): `MPC` whose model has a policy and critics, trained off-policy on replay.

    Args:
        observation_space: of the environment.
        action_space: a bounded Box (A,).
        encoder: reads the observations.
        config: hyperparameters.
    """

    model: Nets

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        encoder: Encoder,
        config: TDMPC2Config | None = None,
    ):
        c = self.config = config or TDMPC2Config()
        model = Nets(action_space, encoder, c.model)
        planner = MPPI(
            action_space,
            c.horizon,
            c.samples,
            c.elites,
            c.iterations,
            c.temperature,
            c.proposals,
            init_std=1.0,
            min_std=c.min_std,
            seed=c.seed,
        )
        super().__init__(observation_space, action_space, model, planner, Return(c.model.discount), c, encoder.keys)
        model.eval()  # the critics use dropout only in training
        self.policy_optimizer = torch.optim.Adam(model.policy.parameters(), c.learning_rate, eps=1e-5)
        learned = [model.project, model.dynamics, model.reward_net, model.critics]
        self.learned = [weight for part in learned for weight in part.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": list(encoder.parameters()), "lr": c.encoder_lr_scale * c.learning_rate},
            {"params": self.learned},
        ]
        self.optimizer = torch.optim.Adam(groups, c.learning_rate)

    def buffer(self) -> Buffer:
        c = self.config
        length = c.horizon + 1
        return TrainRatioReplay(
            c.train_ratio, c.buffer_size, c.batch_size, length, c.learning_starts, c.seed, self.keys
        )

    def offline(self) -> Pieces:
        """Sequences of rows. There is no correction for the values of actions that were not recorded."""
        return Pieces(self.config.batch_size, self.config.horizon + 1, crossing=True, keys=self.keys)

    def update(self, batch: Batch) -> Numbers:
        rows = to_torch({key: batch[key] for key in ROWS}, self.device)
        model = self.model
        model.train()
        assert self.optimizer is not None
        loss, numbers, latents, weight = model.loss_of(rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([*model.encoder.parameters(), *self.learned], self.config.clip)
        self.optimizer.step()
        policy_loss, more = model.policy_loss(latents, weight, model.scale)
        self.policy_optimizer.zero_grad(set_to_none=True)
        policy_loss.backward()
        nn.utils.clip_grad_norm_(model.policy.parameters(), self.config.clip)
        self.policy_optimizer.step()
        self.rescale(more.pop("value"))
        model.move_slow_critics()
        model.eval()
        self.updates += 1
        return {"gradient_norm": norm, "value_scale": model.scale.clone(), **detached({**numbers, **more})}

    def rescale(self, value: Tensor) -> None:
        """Update the running range between the 5th and 95th percentile of values (at least 1)."""
        low, high = torch.quantile(value.flatten(), torch.tensor([0.05, 0.95], device=value.device))
        self.model.scale.lerp_((high - low).clamp_min(1.0), self.config.return_rate)

    def training_state(self) -> dict[str, Any]:
        return {**super().training_state(), "policy_optimizer": self.policy_optimizer.state_dict()}

    def set_training_state(self, state: dict[str, Any]) -> None:
        super().set_training_state(state)
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])
