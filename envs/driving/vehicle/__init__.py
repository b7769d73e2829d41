"""The ego vehicle: the kinematic bicycle and the LQR tracker that drives it."""
