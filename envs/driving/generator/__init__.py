"""Generated towns, traffic and scenarios by seed."""
