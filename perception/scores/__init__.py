"""Measures of representations and of discovered objects: probes, clustering scores and collapse indicators."""
