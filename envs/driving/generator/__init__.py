"""Generates towns, traffic and scenarios from a seed."""
