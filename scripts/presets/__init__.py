"""Presets: named configurations."""
