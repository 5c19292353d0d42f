"""Manifest and records -> paired statistics and verdicts on claims. Imports no torch."""
