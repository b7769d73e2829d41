"""Habitat's measures over N worlds at once."""
