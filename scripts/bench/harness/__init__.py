"""What measurements share: jobs done once, stopwatches."""
