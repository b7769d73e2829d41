"""Agents that learn from an expert: behaviour cloning and DAgger."""
