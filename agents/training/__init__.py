"""Training: the training loops, rows, buffers, evaluation, checkpoints, resume and logging."""
