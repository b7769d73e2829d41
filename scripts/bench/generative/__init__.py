"""Generative models against exact values: scores, diffusion, guidance, steering, consistency, and their controls."""
