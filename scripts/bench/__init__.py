"""Measurements, a room each."""
