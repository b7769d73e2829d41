"""The training loops and what they need: rows, buffers, evaluation, checkpoints, resume, logging."""
