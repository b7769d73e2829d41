"""World models, learned and analytic, and what they are made of."""
