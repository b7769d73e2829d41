"""Scores of presets on several seeds."""
