"""Agents that learn from reward: PPO, DQN, those of Stable-Baselines3, Dreamer, TD-MPC2, and MPC."""
