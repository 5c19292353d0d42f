"""The study's tables for a LaTeX document, with the numbers of the PDF."""

from __future__ import annotations

import re

import pandas as pd

from cabench.analysis.formatting import NONE, effect_decimals, effect_text, p_text
from cabench.analysis.intervals import claims_interval_note, table_interval_note
from cabench.analysis.summary import TextTable, guidance, summary
from cabench.analysis.tables import by_length, in_blocks, number_text
from cabench.analysis.verdict_text import claim_id, measured, verdict_words
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.version import __version__

SHARES = (0.22, 0.22, 0.24, 0.16)  # of the line's width: columns of the claims
WIDTH = 84  # letters in a row of a table, about a page's
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{letter: f"\\{letter}" for letter in "&%$#_"},
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # at the start of a row it would be an option of the one before
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
    }
)


def to_latex(results: Results) -> str:
    r"""Tables of scores, cost, claims and lengths of training; they need booktabs and array."""
    name = f"{results.manifest.study}.{results.manifest.scale}"
    head = f"% {name}: tables of `cabench report`, cabench {__version__}"
    parts = [rf"{head}; they need \usepackage{{booktabs,array}}"]
    note = table_interval_note(results)
    parts += _tables(summary(results, jointly=True).with_n_column(), "Scores and cost", name, note)
    if results.verdicts:
        parts.append(_claims(results, name))
    for title, table in by_length(results):
        parts += _tables(table, title, f"{name}.lengths")
    if swept := guidance(results):
        note = "Scores at the primary guidance -> at this one, on the same seeds."
        parts += _tables(swept, "Other guidance", f"{name}.guidance", note)
    return "\n\n".join(parts) + "\n"


def latex(text: str) -> str:
    r"""Text with LaTeX's special characters escaped: 'KID $\times 10^{3}$ $\downarrow$'."""
    text = text.replace("->", "\u2192")
    escaped = []
    for i, part in enumerate(re.split(r"x10\^(-?\d+)", " ".join(text.split()))):
        minus = re.sub(r"(?<![\w)\]-])-(?=\.?\d)", "−", part)
        escaped.append(f"$\\times 10^{{{part}}}$" if i % 2 else minus.translate(ESCAPES))
    return "".join(escaped).replace("\u2192", r"$\rightarrow$")


def _tables(table: TextTable, title: str, name: str, note: str = "") -> list[str]:
    """The table in as many blocks of columns as its width needs."""
    blocks = in_blocks(table, WIDTH)
    parts = []
    for k, columns in enumerate(blocks):
        rows = [i for i in range(len(table.rows)) if any(c.cells[i].text != NONE for c in columns)]
        lead = [f"{table.rows[i].name} {table.rows[i].status}".strip() for i in rows]
        cells = [
            [f"{number_text(c.cells[i])} {c.cells[i].word}".strip() for i in rows] for c in columns
        ]
        part = f" ({k + 1} of {len(blocks)})" if len(blocks) > 1 else ""
        frame = pd.DataFrame(list(zip(lead, *cells, strict=True)))
        titles = [table.lead, *(column.title for column in columns)]
        caption = f"{title}{part}. {note if k == 0 else ''}".strip()
        parts.append(
            _environment(frame, titles, "l" + "r" * len(cells), caption, f"{name}.{k + 1}")
        )
    return parts


def _claims(results: Results, name: str) -> str:
    """A row per claim and metric."""
    design, rows = Design.of(results.manifest), []
    for verdict in results.verdicts:
        words = verdict_words(verdict, results.metrics)
        if verdict.is_tested:
            words += f", {p_text(verdict.p_holm)}, n = {verdict.n}"
        first = [claim_id(verdict), verdict.claim.says]
        for part, metric, effect in measured(verdict, results.metrics):
            joint = effect_text(design.jointly(effect, verdict.tests), effect_decimals(effect))
            rows.append([*first, f"{metric.title}: {' - '.join(part.sides)}", joint, words])
            first, words = ["", ""], ""
        if first[0]:
            rows.append([*first, "", "", words])
    titles = ["id", "claim", "metric and arms", "difference", "verdict"]
    columns = "l" + "".join(
        rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}" for share in SHARES
    )
    note = f"Claims. {claims_interval_note(results)}".strip()
    return _environment(pd.DataFrame(rows), titles, columns, note, f"{name}.claims")


def _environment(
    frame: pd.DataFrame, titles: list[str], columns: str, caption: str, label: str
) -> str:
    frame = frame.map(latex).set_axis([latex(title) for title in titles], axis="columns")
    styler = frame.style.hide(axis="index")
    return styler.to_latex(
        column_format=columns,
        position="tbp",
        position_float="centering",
        hrules=True,
        caption=latex(caption),
        label=f"tab:{label}",
    ).strip()
