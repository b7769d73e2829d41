"""Bird's-eye pictures of a drive."""
