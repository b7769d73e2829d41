"""Benches: commands that measure what README and docs report."""
