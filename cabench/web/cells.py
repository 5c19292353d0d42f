"""Table cells for the templates: text, the word of a test, and a key to sort by."""

from __future__ import annotations

import re

from cabench.analysis.summary import Cell, TextTable
from cabench.analysis.tables import number_text
from cabench.records.spec import Json
from cabench.report.document import typeset

NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def table_cell(cell: Cell) -> Json:
    """Text, the word of a test, and the first number, by which rows are sorted ('': none)."""
    number = NUMBER.match(cell.text)
    key = number[0].replace(",", "") if number else ""
    return {"text": typeset(number_text(cell)), "word": cell.word, "key": key}


def table_cells(table: TextTable) -> Json:
    """A table for the template: titles, and rows of name, status and cells."""
    return {
        "lead": table.lead,
        "titles": [typeset(column.title) for column in table.columns],
        "rows": [
            {
                "name": row.name,
                "status": row.status,
                "is_baseline": row.is_baseline,
                "is_arm": row.n is not None,
                "cells": [table_cell(column.cells[i]) for column in table.columns],
            }
            for i, row in enumerate(table.rows)
        ],
    }
