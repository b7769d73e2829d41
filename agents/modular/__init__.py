"""Modular agents: they build a map from depth, choose a goal on it, and walk there. They learn nothing."""
