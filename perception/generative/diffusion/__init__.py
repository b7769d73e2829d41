"""Diffusion: noise schedules, parametrisations, samplers, guidance, steering, scheduled sampling, consistency."""
