"""Homes: Habitat's tasks on generated homes, on scanned scenes, and on habitat-sim where it is installed."""
