"""Executors: they run the trials that are missing, and remember nothing."""
