"""Non-learning baselines: random, expert, constant, and temporally correlated random actions."""
