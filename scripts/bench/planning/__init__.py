"""Planners: their scores on roads, their cost, swing-ups."""
