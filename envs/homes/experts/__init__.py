"""Privileged experts: the greedy geodesic follower and shortest walks."""
