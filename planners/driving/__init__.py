"""Planners on roads: constant velocity, IDM, the log's future, PDM-Closed."""
