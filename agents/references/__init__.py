"""Agents that do not learn: random, expert, constant, wandering."""
