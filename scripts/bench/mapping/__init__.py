"""Maps from depth and the agents that use them."""
