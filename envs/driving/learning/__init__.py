"""The driving environments."""
