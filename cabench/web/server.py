"""Pages of a results directory on this machine, redrawn when records arrive.

The server is bound to 127.0.0.1 and only reads. A path is one of the names of the pages, never one
of a file, so no request can leave the results directory. A request must name this server as its
host, so that no other web site can read the pages through a name that it points to 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.records.runs import Run, runs_or_reference
from cabench.runtime.files import LOG
from cabench.web.leaderboard import Study
from cabench.web.page import Link, study_page
from cabench.web.render import Live
from cabench.web.site import INDEX, index_page

HOST = "127.0.0.1"
VERSION = "version"
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server:
    """Serves the runs of a results directory; a context manager that frees the port."""

    def __init__(self, results: Path, port: int = 0) -> None:
        """Raises CabenchError where the port is taken."""
        pages = Pages(results)
        handler = type("Handler", (_Handler,), {"pages": pages})
        try:
            self._server = _HTTPServer((HOST, port), handler)
        except OSError as error:
            reason = error.strerror or error
            raise CabenchError(f"--port: {port}: {reason}; 0 takes a free one") from None
        pages.port = self.port

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def serve(self) -> None:
        """Serve until `close`, or an interruption."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """End `serve`, where it runs in another thread."""
        self._server.shutdown()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.server_close()


class Pages:
    """The pages by path, each drawn once for a state of the results."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.port = 0  # of the server
        self._lock = threading.Lock()  # one page is drawn at a time
        self._drawn: dict[str, tuple[str, str]] = {}  # path -> version, page

    def get(self, path: str) -> tuple[str, str] | None:
        """Content and its type; None where there is no such page."""
        runs = {run.name: run for run in runs_or_reference(self.results)}
        name = path.removeprefix("/") or INDEX
        if name == VERSION:
            return version(list(runs.values())), TEXT
        if name == INDEX:
            return self._page(name, list(runs.values())), HTML
        name, _, end = name.rpartition(".")
        if name not in runs or end not in ("html", VERSION):
            return None
        if end == VERSION:
            return version([runs[name]]), TEXT
        return self._page(f"{name}.html", [runs[name]]), HTML

    def _page(self, name: str, runs: list[Run]) -> str:
        with self._lock:
            state = version(runs)
            if self._drawn.get(name, ("",))[0] != state:
                self._drawn[name] = state, self._draw(name, runs, state)
            return self._drawn[name][1]

    def _draw(self, name: str, runs: list[Run], state: str) -> str:
        if name == INDEX:
            return index_page([Study(run, Results.of(run)) for run in runs])
        (run,) = runs
        results = Results.of(run, with_curves=True)
        live = Live(f"{run.name}.{VERSION}", state)
        return study_page(run, results, live, (Link("Studies", INDEX),))


def version(runs: list[Run]) -> str:
    """A hash that changes when a manifest changes or a record arrives or changes."""
    parts = []
    for run in runs:
        paths = [p for t in run.manifest.all_trials if (p := run.store.find(t.key)) is not None]
        stats = [(path.name, path.stat()) for path in paths if path.exists()]
        parts.append(run.manifest.model_dump_json())  # as it was read, which may not be as it is
        parts += [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _HTTPServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, as a closed tab does, is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_version, sys_version = "cabench", ""
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds for a request, so that an idle client frees its thread

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        port = self.pages.port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(
                HTTPStatus.FORBIDDEN, "this server answers to its own name only\n", with_body
            )
            return
        try:
            page = self.pages.get(urlsplit(self.path).path)
        except (CabenchError, OSError) as error:  # a manifest is being replaced, a record not valid
            LOG.warning("%s", error)
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n", with_body)
            return
        if page is None:
            self._send(HTTPStatus.NOT_FOUND, "no such page\n", with_body)
        else:
            self._send(HTTPStatus.OK, page[0], with_body, page[1])

    def _send(self, status: HTTPStatus, text: str, with_body: bool, kind: str = TEXT) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
