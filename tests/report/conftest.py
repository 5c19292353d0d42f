"""Runs on disk to report on, and a PDF's text."""

import pypdfium2
import pytest
from made_study import make_study, write_run


@pytest.fixture
def made(tmp_path):
    """make(edit=None, weights=False, **study options) -> Run, written below tmp_path."""

    def make(names=("native", "native+dw", "can-3"), edit=None, weights=False, folder="a", **made):
        manifest, records, curves = make_study(list(names), **made)
        if edit:
            edit(manifest, records)
        return write_run(tmp_path / folder, manifest, records, curves, weights=weights)

    return make


@pytest.fixture
def text_of():
    """The text of each page, white space folded."""

    def read(pdf):
        with pypdfium2.PdfDocument(pdf) as document:
            pages = [page.get_textpage().get_text_range() for page in document]
        return [" ".join(page.replace("\u200b", "").split()) for page in pages]

    return read
