"""Readers and writers of nuPlan's files: logs and maps."""
