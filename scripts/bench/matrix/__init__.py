"""Combinations of encoder, world model, planner and agent."""
