"""Results -> paired statistics and verdicts. Imports no torch."""
