"""Results -> the report: PDF (set by typst), CSV and Markdown. Imports no torch."""
