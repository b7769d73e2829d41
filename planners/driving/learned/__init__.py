"""Driving planners with learned costs: sampled trajectories, their features, and what scores them."""
