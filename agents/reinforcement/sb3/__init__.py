"""Stable-Baselines3's PPO, A2C and DQN as agents: our loop steps the environments, SB3's `train()` learns.

There are three differences from SB3's own loop:

- Observations are read by an `Encoder`.
- The last row of an episode starts no transition, so it is in no minibatch. A truncated episode is bootstrapped from
  its own last observation (SB3 uses an extra forward pass for this).
- The action of the row at which an update happens comes from the policy before the update. Its stored log-probability
  is that policy's, as PPO's ratio needs it.
"""
