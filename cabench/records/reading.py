"""From JSON to records and manifests. A document that is not valid gives one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cabench.errors import CabenchError, cut
from cabench.records.schema import FORMAT, Manifest, Record, SearchOutcome
from cabench.records.spec import Frozen
from cabench.runtime.printable import printable

Document = TypeVar("Document", bound=Frozen)


def read_record(content: Any, path: Path) -> Record:
    """The record; CabenchError in one line where it has another format or is not valid."""
    return read_document(Record, content, path, "record")


def read_outcome(content: Any) -> SearchOutcome:
    """The outcome of a search; ValueError where it is not valid, so that the search runs again."""
    return SearchOutcome.model_validate(content)


def read_manifest(content: Any, path: Path) -> Manifest:
    """The manifest; CabenchError in one line where it has another format or is not valid."""
    return read_document(Manifest, content, path, "manifest")


def read_document(model: type[Document], content: Any, path: Path, what: str) -> Document:
    """A document of this format; CabenchError in one line where it has another or is not valid."""
    try:
        content = printable(content)
    except RecursionError:
        raise CabenchError(f"{path}: not a valid {what}: nested too deeply") from None
    version = content.get("format", 1) if isinstance(content, dict) else FORMAT
    if version != FORMAT:
        raise CabenchError(f"{path}: expected a {what} of format {FORMAT}, got {version!r}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise CabenchError(
            f"{path}: not a valid {what}: {where}: {cut(first['msg'], 200)}"
        ) from None
