"""Driving planners: constant velocity, IDM, log future, the logged driver, PDM-Closed."""
