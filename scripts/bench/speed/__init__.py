"""Speed of training, videos, homes and roads."""
