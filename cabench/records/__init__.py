"""Truth on disk: records, manifests, and the runs they belong to."""
