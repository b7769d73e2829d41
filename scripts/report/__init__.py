"""What people look at: report cards, statistics, films."""
