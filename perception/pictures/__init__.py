"""Procedural image sets with class labels or instance masks."""
