"""Habitat's tasks as data, and their sensors."""
