"""Data sources: one file each. Importing this package registers them."""
