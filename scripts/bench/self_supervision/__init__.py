"""Self-supervised encoders beside their controls."""
