"""Data sets in and out: frames to pretrain on, Minari and LeRobotDataset exports."""
