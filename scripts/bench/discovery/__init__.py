"""Object discovery, method by set by score."""
