"""Feature extractors: frozen networks whose features metrics compare."""
