"""Procedural sets of pictures with labels or instance masks."""
