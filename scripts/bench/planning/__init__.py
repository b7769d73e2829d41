"""Planners: scores on roads, time per plan, swing-ups."""
