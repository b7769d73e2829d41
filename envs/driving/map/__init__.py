"""The road map and the plane geometry on it."""
