"""The Python interface: run studies, read results, load networks and sample. See docs/python.md."""
