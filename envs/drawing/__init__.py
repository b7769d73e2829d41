"""Renderer of triangle scenes, batched, on the CPU and on a GPU."""
