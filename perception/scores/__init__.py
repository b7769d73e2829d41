"""Measures of representations and of found objects: probes, clustering scores, collapse."""
