"""Optimal control: LQR and iLQR."""
