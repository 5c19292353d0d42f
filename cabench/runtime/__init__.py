"""Tools without domain: files, devices, console, random streams, validation."""
