"""Agents that learn from an expert: behaviour cloning, DAgger, and driving planners with weights."""
