"""Inverse reinforcement learning: rewards and costs that explain an expert's demonstrations."""
