"""Agents that learn from reward: Stable-Baselines3's, Dreamer, TD-MPC2, and planning in a learned model (MPC)."""
