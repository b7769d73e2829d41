"""nuPlan's files: logs and maps read, and written for tests."""
