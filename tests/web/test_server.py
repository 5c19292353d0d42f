"""`cabench serve`: pages by name, for this machine alone, redrawn when records arrive."""

from __future__ import annotations

import http.client
import socket
import struct
import threading

import pytest
from cli import cabench
from example_study import make_record
from specs import ROOT
from webpages import Parsed

from cabench.errors import CabenchError
from cabench.records.store import REFERENCE
from cabench.web.page import study_page
from cabench.web.server import HEADERS, Server

PAGE = "/layer_placement.quick.html"


@pytest.fixture
def served(make_run):
    """A run and the server of its results directory."""
    run = make_run(missing=[("can-3", 2)])
    with Server(run.store.results) as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield run, server
        server.close()
        thread.join(5)


def ask(server, path, method="GET", host=None):
    """Status, headers and body of a request, its path sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.port}")
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return content


def test_it_serves_the_page_and_says_when_records_arrive(served):
    run, server = served
    assert server._server.server_address[0] == "127.0.0.1"
    status, headers, text = ask(server, PAGE)
    page = Parsed(text)
    assert status == 200 and headers.items() >= HEADERS.items()
    assert "8 of 9 trials are complete: 1 has not run." in page.text
    live = next(a["data-live"] for tag, a in page.elements if tag == "body")
    before = ask(server, f"/{live}")[2]
    assert before == ask(server, f"/{live}")[2] == version_of(page) != ""
    complete = run.records()["can-3@1"]
    run.store.write_record(make_record("can-3", 2, dict(complete.metrics)))
    assert ask(server, f"/{live}")[2] != before
    assert "trials are complete" not in Parsed(ask(server, PAGE)[2]).text


def version_of(page):
    """The version that a page says it was drawn from."""
    return next(a["data-version"] for tag, a in page.elements if tag == "body")


def test_a_record_that_arrives_while_the_page_is_drawn_is_news_to_it(served, monkeypatch):
    run, server = served
    record = make_record("can-3", 2, dict(run.records()["can-3@1"].metrics))
    draw = study_page

    def slow(*arguments):
        run.store.write_record(record)
        return draw(*arguments)

    monkeypatch.setattr("cabench.web.server.study_page", slow)
    page = Parsed(ask(server, PAGE)[2])
    assert "8 of 9 trials are complete" in page.text
    assert version_of(page) != ask(server, PAGE.replace("html", "version"))[2]


def test_a_closed_tab_prints_nothing(served, capfd):
    _, server = served
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(f"GET {PAGE} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # at once, by a reset
    assert ask(server, PAGE)[0] == 200
    for thread in threading.enumerate():
        if "process_request" in thread.name:
            thread.join(60)
    assert capfd.readouterr().err == ""


def test_it_only_reads(served):
    run, server = served
    files = sorted(run.store.results.rglob("*"))
    status, headers, body = ask(server, PAGE, "HEAD")
    assert status == 200 and not body and int(headers["Content-Length"]) > 50_000
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(server, PAGE, method)[0] == 501, method
    assert sorted(run.store.results.rglob("*")) == files


@pytest.mark.parametrize(
    "path",
    [
        "/layer_placement.quick/manifest.json",
        "/records/can-3@0.json",
        "/../a/results/layer_placement.quick/manifest.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/layer_placement.quick.html/..",
        "/layer_placement.quick.json",
        "/\\..\\..",
    ],
)
def test_no_path_leads_to_a_file(served, path):
    status, _, body = ask(served[1], path)
    assert (status, body) == (404, "no such page\n")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:{port}"]
)
def test_another_host_is_refused(served, host):
    status, _, body = ask(served[1], PAGE, host=host.format(port=served[1].port))
    assert status == 403 and "layer" not in body
    assert ask(served[1], "/", host=f"localhost:{served[1].port}")[0] == 200


def test_the_index_names_every_run(served):
    page = Parsed(ask(served[1], "/")[2])
    assert ("a", {"href": "layer_placement.quick.html"}) in page.elements
    assert "Which layers should be condition-aware?" in page.text


def test_the_command_says_which_directory_it_serves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without results, so the committed ones are served
    monkeypatch.setattr(Server, "serve", lambda server: None)
    code, out, _ = cabench("serve", "layer_placement", "--port", "0")
    assert code == 0 and f" shows {ROOT / REFERENCE};" in out


def test_errors_of_the_command_are_one_line(served):
    run, server = served
    with pytest.raises(CabenchError, match=r"--port: \d+: .*; 0 takes a free one"):
        Server(run.store.results, server.port)
    for words in (("layer_placment",), ("--scale", "quick")):
        code, _, err = cabench("serve", *words, "--results", run.store.results)
        assert code == 2 and err.count("\n") == 1, words
