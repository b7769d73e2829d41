"""Self-supervised learning of encoders, and the views that it compares."""
