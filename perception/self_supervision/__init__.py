"""Methods by which an encoder teaches itself, and the views they compare."""
