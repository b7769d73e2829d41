"""Furnished homes by seed."""
