"""Runs on disk to report on, and the text of a PDF."""

import pypdfium2
import pytest
from example_study import make_study, write_run


@pytest.fixture
def make_run(tmp_path):
    """make(edit=None, weights=False, **study options) -> Run, written below tmp_path."""

    def make(
        names=("native", "native+dw", "can-3"), edit=None, weights=False, folder="a", **options
    ):
        study = make_study(list(names), **options)
        if edit:
            edit(study.manifest, study.records)
        return write_run(tmp_path / folder, study, weights=weights)

    return make


@pytest.fixture
def text_of():
    """The text of each page, with single spaces."""

    def read(pdf):
        with pypdfium2.PdfDocument(pdf) as document:
            pages = [page.get_textpage().get_text_range() for page in document]
        return [" ".join(page.replace("\u200b", "").split()) for page in pages]

    return read
