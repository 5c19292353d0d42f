"""Results -> tables, figures, verdict texts and tidy frames. Imports no torch."""
