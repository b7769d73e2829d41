"""World models, learned and analytic, and their building blocks."""
