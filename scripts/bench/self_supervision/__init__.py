"""Self-supervised image encoders beside their controls."""
