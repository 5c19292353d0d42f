import io
import re

import pandas as pd
import pytest
from rich.console import Console

from cabench.analysis import tables
from cabench.analysis.summary import guidance, summary

KID, KID_DIFFERENCE = "KID x10^3 @2000 ↓", "diff. KID x10^3 @2000 ↓"
CASES = {
    "full": {},
    "one seed": {"seeds": 1},
    "failed": {
        "failed": [("can-3", 1), *(("can-all", s) for s in range(3))],
        "missing": [("native", 2)],
    },
}


@pytest.fixture(params=[*CASES, "long"])
def case(request, study, long_names):
    example = study(long_names) if request.param == "long" else study(**CASES[request.param])
    return example.results()


def column(results, title):
    """A column's cells by arm."""
    table = summary(results)
    (actual,) = (column for column in table.columns if column.title == title)
    return dict(zip([row.name for row in table.rows], actual.cells, strict=True))


def texts(results, title):
    return {arm: cell.text for arm, cell in column(results, title).items()}


def test_no_line_too_wide_and_no_number_cut(case):
    cells = {cell.text for column in summary(case).columns for cell in column.cells}
    for width in (80, 100, 160):
        text = tables.plain(case, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        spaced = f" {' '.join(text.split())} "
        missing = [cell for cell in cells if f" {' '.join(cell.split())} " not in spaced]
        assert not missing, (width, missing)


def test_cells_hold_mean_half_width_and_n(study):
    example = study()
    for s, kid in enumerate((0.010, 0.011, 0.012)):  # sd .001
        example.records[f"can-3@{s}"]["metrics"]["kid"] = kid
        example.records[f"native+dw@{s}"]["metrics"]["kid"] = kid + 0.002 + 0.0001 * (s - 1)
    results = example.results()
    level = column(results, KID)["can-3"]
    mean, half = re.fullmatch(r"(\S+) ± (\S+)", level.text).groups()
    assert (float(mean), level.n) == (11, 3)
    assert float(half) == pytest.approx(4.302653 / 3**0.5, abs=0.05)
    effects = texts(results, KID_DIFFERENCE)
    diff = re.match(r"(\S+) \[(\S+), (\S+)\]", effects["can-3"])
    half = 0.1 * 4.302653 / 3**0.5
    assert [float(x) for x in diff.groups()] == pytest.approx([-2, -2 - half, -2 + half], abs=0.05)
    assert effects["native+dw"] == "baseline"


def test_rows_are_arms_in_order_then_the_floor(study):
    results = study().results()
    assert list(column(results, KID)) == [*results.arms, "real vs real"]
    floors = {title: texts(results, title)["real vs real"] for title in (KID, "held-out loss ↓")}
    assert float(floors[KID]) == pytest.approx(0.4)
    assert float(texts(results, "condition accuracy ↑")["real vs real"]) == pytest.approx(0.861)
    assert floors["held-out loss ↓"] == "-"


def test_a_word_only_where_holm_says_so(study):
    results = study().results()
    cells = column(results, KID_DIFFERENCE)
    words = []
    for row in results.compare_arms(["kid"]):
        better = row.difference.mean < 0
        expected = "" if not row.p_holm < 0.05 else "better" if better else "worse"
        assert cells[row.arm].word == expected, row.arm
        words.append(expected)
    assert "better" in words and "" in words  # the case holds both
    assert cells["static"].word == ""  # a lower bound has no verdict
    assert "+4" in cells["static"].text


def test_costs_in_one_unit(study):
    results = study().results()
    assert texts(results, "MACs (M)")["static"] == "7.40"
    assert texts(results, "conditioning MACs (M)")["native"] == "0.20"
    assert texts(results, "params (K)")["native+dw-wide"] == "1,210"
    assert texts(results, "images/s")["static"] == "1,910"  # mean of 1900, 1910, 1920


def test_failures_are_counted_and_explained(study):
    results = study(**CASES["failed"]).results()
    status = {row.name: row.status for row in summary(results).rows}
    assert status["can-3"] == "failed (1 of 3)"
    assert status["can-all"] == "failed (3 of 3)"
    assert status["native"] == "not run (1 of 3)"
    cells = column(results, KID)
    assert cells["can-all"].text == "-"
    assert cells["can-3"].n == 2
    for text in (tables.plain(results, 100), tables.to_markdown(results)):
        assert "failed (1 of 3)" in text
        assert "failed: can-all (seeds 0, 1, 2): Diverged: loss is not finite" in text


def test_a_cell_states_n_where_it_is_not_its_rows(study):
    example = study()
    del example.records["can-3@1"]["metrics"]["kid"]
    table = summary(example.results()).with_n_column()
    row = [row.name for row in table.rows].index("can-3")
    cells = {column.title: column.cells[row] for column in table.columns}
    assert cells["n"].text == "3"
    assert cells[KID].n == 2 and cells["held-out loss ↓"].n is None


def test_the_footnotes_state_the_protocol(study):
    text = " ".join(tables.plain(study().results(), 100).split())
    for part in (
        "n = 2,000 samples",
        "guidance 1;",
        "20 sampling steps",
        "efficientnet-lite0-64",
        "70,000 images",
        "seeds 0, 1, 2",
        "Student-t",
        "multiply-accumulates",
        "fvcore",
        "Holm",
        "static: lower bound",
    ):
        assert part in text, part
    assert "WARNING" not in text


def test_trials_measured_differently_are_called_out(study):
    example = study()
    example.records["can-3@0"]["protocol"]["n"] = 500
    text = tables.plain(example.results(), 160)
    assert "WARNING: trials differ in protocol 'n' (2000 / 500)" in text


def test_other_guidance_is_compared_on_the_same_seeds(study):
    example = study()
    table = guidance(example.results())
    row = [row.name for row in table.rows].index("can-3")
    cells = {column.title: column.cells[row].text for column in table.columns}
    kid = 1000 * example.records["can-3@0"]["metrics"]["kid"]
    before, after = map(float, cells[KID].split(" -> "))
    assert cells["seeds"] == "0" and before == pytest.approx(kid, abs=0.06)
    assert after == pytest.approx(1.4 * kid, abs=0.06)
    for record in example.records.values():
        record["metrics"] = {k: v for k, v in record["metrics"].items() if "/g" not in k}
    assert guidance(example.results()) is None


def test_csv_holds_numbers_in_stored_units(study, tmp_path):
    example = study()
    table = pd.read_csv(tables.to_csv(example.results(), tmp_path / "t.csv"))
    kid = [example.records[f"can-3@{s}"]["metrics"]["kid"] for s in range(3)]
    row = table[(table["arm"] == "can-3") & (table["metric"] == "kid")].iloc[0]
    assert row["mean"] == pytest.approx(sum(kid) / 3) and row["n"] == 3
    assert row["params"] == example.records["can-3@0"]["cost"]["params"]["total"]
    assert "heldout_loss/bin9" in set(table["metric"])


def test_markdown_rows_have_as_many_cells_as_the_head(study):
    example = study()
    example.manifest["claims"][0]["says"] = "a | b"
    text = tables.to_markdown(example.results())
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(cells)) == 1
    assert "| can-3 |" in text and "`can-3`: what can-3 is" in text
    assert "not tested" in text


def test_a_file_gets_plain_text(study):
    results = study().results()
    file = io.StringIO()
    tables.show(results, Console(file=file), width=120)
    assert "\x1b" not in file.getvalue() and "can-3-bottleneck" in file.getvalue()
    assert max(map(len, file.getvalue().splitlines())) <= 120
    ascii_text = tables.plain(results, 100, encoding="ascii")
    assert ascii_text.isascii() and "+-" in ascii_text


def test_colour_on_a_terminal_only_for_what_is_significant(study):
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=100, color_system="standard")
    tables.show(study(seeds=1).results(), terminal)
    assert "\x1b[" in file.getvalue() and "\x1b[1;32m" not in file.getvalue()


def test_nothing_run_yet(study, tmp_path):
    example = study()
    example.records.clear()
    results = example.results()
    text = tables.plain(results, 80)
    assert "not run (3 of 3)" in text and "has not run yet" in text.replace("\n", " ")
    assert "not run (3 of 3)" in tables.to_markdown(results)
    assert tables.to_csv(results, tmp_path / "t.csv").exists()


def test_texts_of_a_study_are_neither_markup_nor_formulas(study, tmp_path):
    hostile = study()
    hostile.manifest["question"] = "<script>alert(1)</script>\n# a heading"
    hostile.manifest["arms"][0]["about"] = "<img src=x>"
    text = tables.to_markdown(hostile.results())
    assert "<script" not in text and "<img" not in text and "\n# a heading" not in text
    cells = pd.DataFrame({"error": ["=cmd|' /C calc'!A0", "+1", "fine", None], "value": [-1.0] * 4})
    path = tmp_path / "cells.csv"
    tables.plain_cells(cells).to_csv(path, index=False)
    lines = path.read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["'=cmd|' /C calc'!A0", "'+1", "fine", ""]
    assert all(line.endswith("-1.0") for line in lines[1:])
