import io
import re

import pandas as pd
import pytest
from rich.console import Console

from cabench.analysis import tables
from cabench.evidence.statistics import numbers

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
    return study(long_names) if request.param == "long" else study(**CASES[request.param])


def test_no_line_too_wide_and_no_number_cut(case):
    manifest, records, _ = case
    body = tables.summary(manifest, records)
    cells = {re.sub(r" \(n=\d+\)$", "", c) for title in body.columns[2:] for c in body[title]}
    for width in (80, 100, 160):
        text = tables.plain(manifest, records, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        spaced = f" {' '.join(text.split())} "
        missing = [cell for cell in cells if f" {' '.join(cell.split())} " not in spaced]
        assert not missing, (width, missing)


def test_cells_hold_mean_half_width_and_n(study):
    manifest, records, _ = study()
    for s, kid in enumerate((0.010, 0.011, 0.012)):  # sd .001
        records[f"can-3@{s}"]["metrics"]["kid"] = kid
        records[f"native+dw@{s}"]["metrics"]["kid"] = kid + 0.002 + 0.0001 * (s - 1)
    body = tables.summary(manifest, records).set_index("arm")
    level = body.loc["can-3", "KID x10^3 @2000 ↓"]
    mean, half, n = re.fullmatch(r"(\S+) ± (\S+) \(n=(\d)\)", level).groups()
    assert (float(mean), n) == (11, "3")
    assert float(half) == pytest.approx(4.302653 / 3**0.5, abs=0.05)
    diff = re.match(r"(\S+) \[(\S+), (\S+)\]", body.loc["can-3", "diff. KID x10^3 @2000 ↓"])
    half = 0.1 * 4.302653 / 3**0.5
    assert [float(x) for x in diff.groups()] == pytest.approx([-2, -2 - half, -2 + half], abs=0.05)
    assert body.loc["native+dw", "diff. KID x10^3 @2000 ↓"] == "baseline"


def test_rows_are_arms_in_order_then_the_floor(study):
    manifest, records, _ = study()
    body = tables.summary(manifest, records)
    assert list(body["arm"]) == [a["name"] for a in manifest["arms"]] + ["real vs real"]
    floor = body.iloc[-1]
    assert float(floor["KID x10^3 @2000 ↓"]) == pytest.approx(0.4)
    assert float(floor["condition accuracy ↑"]) == pytest.approx(0.861)
    assert floor["held-out loss ↓"] == "-"


def test_a_word_only_where_holm_says_so(study):
    manifest, records, _ = study()
    table = numbers(manifest, records, ["kid"]).set_index("arm")
    cells = tables.summary(manifest, records).set_index("arm")["diff. KID x10^3 @2000 ↓"]
    words = {"better": 0, "worse": 0, "": 0}
    for arm, row in table.iterrows():
        word = (re.search(r"(better|worse)$", cells[arm]) or [""])[0]
        expected = "" if not row["p_holm"] < 0.05 else "better" if row["diff"] < 0 else "worse"
        assert word == expected, arm
        words[word] += 1
    assert words["better"] and words[""]  # the case holds both
    assert not re.search("better|worse", cells["static"])  # a bound has no verdict
    assert "+4" in cells["static"]


def test_costs_in_one_unit(study):
    manifest, records, _ = study()
    body = tables.summary(manifest, records).set_index("arm")
    assert body.loc["static", "MACs (M)"] == "7.40"
    assert body.loc["native", "conditioning MACs (M)"] == "0.20"
    assert body.loc["native+dw-wide", "params (K)"] == "1,210"
    assert body.loc["static", "images/s"] == "1,910"  # mean of 1900, 1910, 1920


def test_failures_are_counted_and_explained(study):
    manifest, records, _ = study(**CASES["failed"])
    body = tables.summary(manifest, records).set_index("arm")
    assert body.loc["can-3", "status"] == "failed (1 of 3)"
    assert body.loc["can-all", "status"] == "failed (3 of 3)"
    assert body.loc["native", "status"] == "not run (1 of 3)"
    assert body.loc["can-all", "KID x10^3 @2000 ↓"] == "-"
    assert body.loc["can-3", "KID x10^3 @2000 ↓"].endswith("(n=2)")
    for text in (tables.plain(manifest, records, 100), tables.to_markdown(manifest, records)):
        assert "failed (1 of 3)" in text
        assert "failed: can-all (seeds 0, 1, 2): Diverged: loss is not finite" in text


def test_the_footnote_states_the_protocol(study):
    manifest, records, _ = study()
    text = " ".join(tables.plain(manifest, records, 100).split())
    for part in (
        "n = 2,000 samples",
        "guidance 1;",
        "20 sampling steps",
        "sha256:9f3c21aa",
        "70,000 images",
        "seeds 0, 1, 2",
        "Student-t",
        "multiply-accumulate",
        "fvcore",
        "Holm",
        "static: lower bound",
    ):
        assert part in text, part
    assert "WARNING" not in text


def test_trials_measured_differently_are_called_out(study):
    manifest, records, _ = study()
    records["can-3@0"]["protocol"]["n"] = 500
    assert "WARNING: trials differ in protocol 'n' (2000 / 500)" in tables.plain(
        manifest, records, 160
    )


def test_other_guidance_is_compared_on_the_same_seeds(study):
    manifest, records, _ = study()
    row = tables.guidance(manifest, records).set_index("arm").loc["can-3"]
    kid = 1000 * records["can-3@0"]["metrics"]["kid"]
    before, after = map(float, row["KID x10^3 @2000 ↓"].split(" -> "))
    assert row["seeds"] == "0" and before == pytest.approx(kid, abs=0.06)
    assert after == pytest.approx(1.4 * kid, abs=0.06)
    for record in records.values():
        record["metrics"] = {k: v for k, v in record["metrics"].items() if "/g" not in k}
    assert tables.guidance(manifest, records).empty


def test_csv_holds_numbers_in_stored_units(study, tmp_path):
    manifest, records, _ = study()
    found = pd.read_csv(tables.to_csv(manifest, records, tmp_path / "t.csv"))
    kid = [records[f"can-3@{s}"]["metrics"]["kid"] for s in range(3)]
    row = found[(found["arm"] == "can-3") & (found["metric"] == "kid")].iloc[0]
    assert row["mean"] == pytest.approx(sum(kid) / 3) and row["n"] == 3
    assert row["params"] == records["can-3@0"]["cost"]["params"]["total"]
    assert "heldout_loss/bin9" in set(found["metric"])


def test_markdown_rows_have_as_many_cells_as_the_head(study):
    manifest, records, _ = study()
    manifest["claims"][0]["says"] = "a | b"
    text = tables.to_markdown(manifest, records)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(cells)) == 1
    assert "| can-3 |" in text and "`can-3`: what can-3 is" in text
    assert "not tested" in text


def test_plain_text_where_nobody_watches(study):
    manifest, records, _ = study()
    file = io.StringIO()
    tables.show(manifest, records, Console(file=file, _environ={}))
    assert "\x1b" not in file.getvalue() and "can-3-bottleneck" in file.getvalue()
    ascii_text = tables.plain(manifest, records, 100, encoding="ascii")
    assert ascii_text.isascii() and "+-" in ascii_text


def test_colour_on_a_terminal_only_for_what_is_significant(study):
    manifest, records, _ = study(seeds=1)
    file = io.StringIO()
    tables.show(
        manifest,
        records,
        Console(file=file, force_terminal=True, width=100, color_system="standard", _environ={}),
    )
    assert "\x1b[" in file.getvalue() and "\x1b[1;32m" not in file.getvalue()


def test_nothing_run_yet(study, tmp_path):
    manifest, _, _ = study()
    text = tables.plain(manifest, {}, 80)
    assert "not run (3 of 3)" in text and "has not run yet" in text.replace("\n", " ")
    tables.to_markdown(manifest, {})
    tables.to_csv(manifest, {}, tmp_path / "t.csv")
