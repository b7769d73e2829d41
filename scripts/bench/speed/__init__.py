"""How fast: training, films, homes, roads."""
