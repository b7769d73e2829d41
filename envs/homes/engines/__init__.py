"""Simulators behind the tasks: our own engine, and habitat-sim where it is installed."""
