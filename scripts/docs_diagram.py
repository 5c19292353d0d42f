"""Draws the way from a study file to a report: `python scripts/docs_diagram.py`."""

from __future__ import annotations

from html import escape
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "images" / "data_flow.svg"
WIDTH, HEIGHT = 1000, 400
BOX, TALL, GAP = 164, 86, 44  # width and height of a box, space between two
INK, PAPER, LINE = "#1f2933", "#ffffff", "#52606d"
FILES, STEPS = "#e3eefb", "#fdf0dd"  # what is on disk, what runs

# (column, row, title, lines, what it is)
BOXES = [
    (0, 0, "Study", ["question, arms,", "baseline, claims"], FILES),
    (0, 2, "Scale", ["sizes, data, training,", "sampling, metrics, seeds"], FILES),
    (1, 1, "Plan", ["a trial per arm and seed,", "each with its key"], STEPS),
    (2, 1, "Trial", ["train, sample, score;", "side by side by Ray"], STEPS),
    (3, 1, "Record", ["scores, cost, protocol,", "a file per key"], FILES),
    (4, 1, "Results", ["paired differences,", "verdicts"], STEPS),
    (4, 2, "Report", ["table, figures, PDF,", "frames in Python"], FILES),
    (2, 2, "Model", ["backbone and methods,", "at sites and hooks"], STEPS),
    (2, 0, "Data", ["three disjoint splits", "of real images"], FILES),
]
ARROWS = [(0, 2), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (7, 3), (8, 3)]


def corner(box: tuple) -> tuple[int, int]:
    column, row = box[:2]
    return 2 + column * (BOX + GAP), 20 + row * (TALL + GAP)


def arrow(start: tuple, end: tuple) -> str:
    """A line between the sides of two boxes that face each other."""
    (x0, y0), (x1, y1) = corner(start), corner(end)
    if start[0] == end[0]:
        down = y1 > y0
        x0 = x1 = x0 + BOX // 2
        y0, y1 = (y0 + TALL, y1) if down else (y0, y1 + TALL)
    else:
        x0, y0, y1 = x0 + BOX, y0 + TALL // 2, y1 + TALL // 2
        shift = (start[1] - end[1]) * 18  # two arrows into one box end apart
        y1 += shift
    return (
        f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{LINE}" stroke-width="2" marker-end="url(#end)"/>'
    )


def drawn(box: tuple) -> str:
    x, y = corner(box)
    middle = x + BOX // 2
    lines = [
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{TALL}" rx="8" fill="{box[4]}" '
        f'stroke="{LINE}"/>',
        f'<text x="{middle}" y="{y + 27}" font-size="17" font-weight="bold">'
        f"{escape(box[2])}</text>",
    ]
    lines += [
        f'<text x="{middle}" y="{y + 49 + 19 * i}" font-size="13.5">{escape(line)}</text>'
        for i, line in enumerate(box[3])
    ]
    return "\n".join(lines)


def image() -> str:
    title = "From a study and a scale to a plan, trials, records, results and a report"
    key = [(FILES, "on disk"), (STEPS, "runs")]
    legend = [
        f'<rect x="{2 + 100 * i}" y="{HEIGHT - 22}" width="16" height="16" fill="{colour}" '
        f'stroke="{LINE}"/><text x="{26 + 100 * i}" y="{HEIGHT - 9}" font-size="13.5" '
        f'text-anchor="start">{text}</text>'
        for i, (colour, text) in enumerate(key)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{title}" font-family="Helvetica, Arial, sans-serif" fill="{INK}" '
            'text-anchor="middle">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            '<defs><marker id="end" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            f'<path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>',
            *(arrow(BOXES[a], BOXES[b]) for a, b in ARROWS),
            *map(drawn, BOXES),
            *legend,
            "</svg>",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(image() + "\n", encoding="utf-8")
