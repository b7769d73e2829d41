"""Encoder x model x planner x agent in the three worlds."""
