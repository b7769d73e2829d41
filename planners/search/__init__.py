"""Planners that search a model: sampling, trees, gradients, value iteration; and the objectives they maximise."""
