"""Agents that learn from an expert: behaviour cloning, DAgger, and learned driving planners."""
