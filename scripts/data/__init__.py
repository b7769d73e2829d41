"""Data sets: frames for pretraining, and import and export of Minari and LeRobotDataset v3."""
