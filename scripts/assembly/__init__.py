"""From configuration to objects: worlds, encoders, models, planners, agents."""
