"""Speed of training, videos, homes, roads and grids."""
