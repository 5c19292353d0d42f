"""A study's report: PDF, CSV and Markdown, from manifest and records. Never imports torch."""
