"""Roads as learning environments."""
