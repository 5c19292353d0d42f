"""Manifest and records in; statistics, verdicts, tables and figures out. Never imports torch."""
