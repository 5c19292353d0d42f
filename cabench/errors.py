"""Errors that a user can mend. Each is one line: what, where, what was found, what is allowed."""


class CabenchError(Exception):
    """A user's mistake or a missing resource: the command line prints its text, no traceback."""


class DataMissing(CabenchError):
    """A data source is absent or broken; the text says what was looked for and how to get it."""
