"""Reports: evaluation, statistics, charts, report cards and videos."""
