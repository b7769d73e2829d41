"""Agents that learn from reward: PPO, A2C and DQN of Stable-Baselines3, Dreamer, TD-MPC2, and MPC."""
