"""General tools: files, devices, console, random streams, validation."""
