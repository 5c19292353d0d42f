"""`cabench site` and `cabench serve`: results as a static site, and as pages that refresh."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cabench.errors import CabenchError
from cabench.records.runs import find_run, runs_or_reference
from cabench.web.server import Server
from cabench.web.site import INDEX, Site


def write_site(folder: Path, results: Path) -> None:
    """Write the site of a results directory; print how many pages, and the first."""
    runs = runs_or_reference(results)
    if not runs:
        raise CabenchError(f"no runs in {results}; start one with `cabench run STUDY`")
    paths = Site.of(runs).write(folder)
    print(f"{len(paths)} pages in {folder}; open {folder / INDEX}")


def serve_site(study: str | None, scale: str | None, results: Path, port: int) -> None:
    """Serve a run's page, or all runs, on 127.0.0.1 until the command is stopped."""
    if scale is not None and study is None:
        raise CabenchError("--scale: expected with the name of a study only")
    run = None if study is None else find_run(results, study, scale, or_reference=True)
    served = results if run is None else run.store.results
    with Server(served, port) as server:
        path = "" if run is None else f"{run.name}.html"
        print(f"{server.address}{path} shows {served}; stop it with Ctrl+C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve()
