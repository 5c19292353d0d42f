"""Documents on disk: a committed one is read and dumped to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from specs import ROOT

from cabench.errors import CabenchError
from cabench.records.reading import read_manifest, read_record
from cabench.records.schema import FORMAT

REFERENCE = ROOT / "results" / "reference"
MANIFESTS = sorted(REFERENCE.glob("*/manifest.json"))
RECORDS = sorted(p for p in (REFERENCE / "records").glob("*.json") if "curves" not in p.name)
COMMITTED = Path("results/reference/records/committed.json")  # named in messages


def text(content) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def test_every_committed_record_is_dumped_to_its_own_bytes():
    assert len(RECORDS) >= 30
    for path in RECORDS:
        record = read_record(json.loads(path.read_text(encoding="utf-8")), path)
        assert text(record.dump()) == path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_every_committed_manifest_is_dumped_to_its_own_bytes(path):
    manifest = read_manifest(json.loads(path.read_text(encoding="utf-8")), path)
    assert text(manifest.dump()) == path.read_text(encoding="utf-8")


def test_the_key_of_a_record_is_that_of_its_spec():
    for path in RECORDS:
        record = read_record(json.loads(path.read_text(encoding="utf-8")), path)
        assert record.spec.key == record.key == path.stem


def committed(paths) -> dict:
    return json.loads(paths[0].read_text(encoding="utf-8"))


@pytest.mark.parametrize(("read", "paths"), [(read_record, RECORDS), (read_manifest, MANIFESTS)])
def test_another_format_is_refused_in_one_line(read, paths):
    content = committed(paths) | {"format": FORMAT + 1}
    with pytest.raises(CabenchError, match=rf"^{COMMITTED}: expected .* format {FORMAT}, got 2$"):
        read(content, COMMITTED)


@pytest.mark.parametrize(("read", "paths"), [(read_record, RECORDS), (read_manifest, MANIFESTS)])
@pytest.mark.parametrize("content", [None, [], 3, "text", {}])
def test_what_is_no_document_is_refused(read, paths, content):
    with pytest.raises(CabenchError, match=f"^{COMMITTED}: not a valid"):
        read(content, COMMITTED)


def test_a_name_that_leads_out_of_the_folder_is_refused():
    for key in ("study", "scale", "baseline"):
        with pytest.raises(CabenchError, match=key):
            read_manifest(committed(MANIFESTS) | {key: "../x"}, COMMITTED)


def test_documents_are_frozen():
    record = read_record(committed(RECORDS), COMMITTED)
    with pytest.raises(ValueError, match="frozen"):
        record.status = "failed"


def test_a_failed_record_has_no_measurements():
    parts = {key: {} for key in ("metrics", "protocol", "cost", "timing", "diagnostics")}
    content = committed(RECORDS) | parts | {"status": "failed", "error": "ValueError: x"}
    record = read_record(content, COMMITTED)
    assert (record.complete, record.protocol, record.cost, record.diagnostics) == (
        False,
        None,
        None,
        None,
    )
    assert text(record.dump()) == text(content)
