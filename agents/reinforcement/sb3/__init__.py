"""Stable-Baselines3's PPO, A2C and DQN as agents like any other: our loop steps the worlds, SB3's `train()` learns.

What SB3 sees differs from its own loop in three points. Observations are read by an `Encoder`. A row that is last
opens no transition, so it is never in a minibatch, and a truncated episode is bootstrapped from its own last
observation (SB3 gets there with an extra forward pass). The row on which an update falls was acted by the policy
before it; the stored log-probability is that policy's, as PPO's ratio needs it.
"""
