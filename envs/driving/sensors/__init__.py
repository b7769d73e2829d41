"""Simulated sensors of the ego vehicle: laser scanner and camera, with the objects that they see."""
