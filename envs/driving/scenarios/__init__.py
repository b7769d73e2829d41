"""Scenarios: a map, what was recorded on it, where the ego is to go; and packs of them on disk."""
