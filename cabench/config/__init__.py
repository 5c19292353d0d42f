"""Study and scale files: their models and their reading."""
