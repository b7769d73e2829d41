"""Code shared by all benches: flags, jobs that run once, stopwatches, result files, tables."""
