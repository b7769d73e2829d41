"""Video: egocentric clips, streamed from files."""
