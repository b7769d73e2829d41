"""Networks that read observations, one module a network."""
