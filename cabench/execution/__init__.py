"""Plan -> records: trials, executors, progress."""
