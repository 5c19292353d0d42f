"""Web pages of results: a file per study, a site of all studies, and a local server."""
