"""Planners that search a model (sampling, trees, gradients, value iteration), and objectives."""
