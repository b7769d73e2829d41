"""World models that plan: on the Wall task, and learned from an agent's own video of homes."""
