"""The page of a study as text: its words, its numbers, and texts that would be markup."""

from __future__ import annotations

import base64
import gzip
import html
import json

import pytest
from example_study import make_failed
from webpages import Parsed, page_of

from cabench.analysis.summary import summary
from cabench.analysis.verdict_text import claim_rows, outcome_of
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.report.document import typeset
from cabench.web import viewer
from cabench.web.render import embedded

HOSTILE = (
    """</script><script>alert(1)</script><img src=x onerror=alert(2)>" onload="alert(3)' {{7*7}}"""
)


def test_the_page_has_the_sentences_and_numbers_of_the_report(make_run):
    run = make_run(failed=[("can-3", 1)], missing=[("native+dw", 2)])
    results = Results.of(run, with_curves=True)
    page = Parsed(page_of(run))
    texts = [outcome_of(results), results.manifest.question]
    for row in claim_rows(results):
        texts += [row.says, row.verdict, *map(typeset, row.evidence.split("; "))]
    for column in summary(results, jointly=True).columns:
        texts += [typeset(cell.text) for cell in column.cells if cell.text != "-"]
    texts += ["7 of 9 trials are complete: 1 failed, 1 has not run.", "failed (1 of 3)"]
    for text in texts:
        assert text in page.text, text
    level = summary(results).columns[0].cells[1].text
    places = [page.text.index(text) for text in (texts[0], level, "AdamW")]
    assert places == sorted(places)  # the answer comes first


def test_the_charts_have_the_numbers_of_the_records(make_run):
    run = make_run()
    records, data = run.records(), Parsed(page_of(run)).data
    scores = {s: 1000 * records[f"can-3@{s}"].metrics["kid"] for s in range(3)}
    base = {s: 1000 * records[f"native+dw@{s}"].metrics["kid"] for s in range(3)}
    (kid,) = [metric for metric in data["metrics"] if metric["name"] == "kid"]
    row = kid["rows"]["can-3"]
    assert row["level"]["mean"] == pytest.approx(sum(scores.values()) / 3)
    assert row["effect"]["mean"] == pytest.approx(
        sum(scores[s] - base[s] for s in range(3)) / 3, abs=1e-9
    )
    assert data["costs"]["can-3"]["macs"] == records["can-3@0"].cost.macs.total
    packed = gzip.decompress(base64.b64decode(data["records"]))
    assert json.loads(packed)["can-3@0"] == records["can-3@0"].dump()


def test_a_difference_has_its_own_interval_and_the_one_for_all_arms_at_once(make_run):
    run = make_run(("static", "native", "native+dw", "can-3"))
    results = Results.of(run, with_curves=True)
    page = Parsed(page_of(run))
    assert "thin bar: the same for all 2 arms at once" in page.text
    for metric in page.data["metrics"]:
        for row in results.compare_arms([metric["name"]]):
            if row.is_baseline:
                continue
            effect = metric["rows"][row.arm]["effect"]
            joint = Design.of(results.manifest).jointly(row.difference, row.tests)
            scale = results.metrics[metric["name"]].scale
            expected = [scale * row.difference.low, scale * row.difference.high]
            assert [effect["low"], effect["high"]] == pytest.approx(expected)
            assert effect["joint"] == pytest.approx([scale * joint.low, scale * joint.high])
    table = summary(results, jointly=True)
    kid, other = page.data["metrics"][:2]
    texts = [kid["rows"][arm]["effect"]["text"] for arm in ("native", "can-3")]
    assert texts == [typeset(table.columns[1].cells[i].text) for i in (1, 3)]
    assert kid["brackets"].endswith("at once") and other["brackets"].endswith("alone")


def test_the_viewer_has_the_grids_beside_the_records(make_run, monkeypatch):
    run = make_run(missing=[("static", 1)])
    data = Parsed(page_of(run)).data["viewer"]
    image = data["sheets"]["can-3"]["1"]["image"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(image) == run.store.beside("can-3@1", ".png").read_bytes()
    assert "1" not in data["sheets"]["static"] and data["notes"] == ""
    monkeypatch.setattr(viewer, "LIMIT", 40_000)  # room for one seed of three arms
    small = Parsed(page_of(run)).data["viewer"]
    assert set(small["sheets"]["can-3"]) == {"0"}
    assert small["notes"] == "Without the images of 2 seeds (1, 2), for its size."


def test_texts_are_never_markup(make_run):
    def spoil(manifest, records):
        manifest["question"] = f"Q {HOSTILE}"
        manifest["caveat"] = f"K {HOSTILE}"
        manifest["study_file"] = f"F {HOSTILE}"
        manifest["arms"][1]["about"] = f"A {HOSTILE}"
        manifest["claims"][1] |= {"says": f"S {HOSTILE}", "id": f"I {HOSTILE}", "paper": HOSTILE}
        manifest["metrics"]["kid"]["label"] = f"M {HOSTILE}"
        manifest["classes"]["label"][0] = f"L {HOSTILE}"
        for record in records.values():
            record["protocol"]["data"] = f"D {HOSTILE}"
        records["can-3@0"] = make_failed("can-3", 0, f"E {HOSTILE}")

    clean, page = (
        Parsed(page_of(make_run(folder=folder, edit=edit, failed=[("can-3", 0)])))
        for folder, edit in (("a", None), ("b", spoil))
    )
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == [tag for tag, _ in clean.elements].count("script") == 2
    assert "img" not in tags
    attributes = {name for _, attributes in page.elements for name in attributes}
    assert attributes == {name for _, attributes in clean.elements for name in attributes}
    for mark in "QKFASIDE":
        assert " ".join(f"{mark} {HOSTILE}".split()) in page.text, mark
    assert page.data["viewer"]["columns"][0] == f"L {HOSTILE}"
    assert any(f"M {HOSTILE}" in metric["title"] for metric in page.data["metrics"])


def test_data_cannot_end_its_script():
    text = "</script><!-- <script> & \u2028"
    out = str(embedded({"a": text}))
    assert not set("<>&\u2028") & set(out) and json.loads(out) == {"a": text}
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"a": float("nan")})


def test_the_page_is_one_file_that_allows_no_request(make_run):
    text = page_of(make_run())
    page = Parsed(text)
    addresses = [a[n] for _, a in page.elements for n in ("src", "href", "action") if a.get(n)]
    assert all(address.startswith(("#", "data:")) for address in addresses), addresses
    (policy,) = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert "@import" not in text and "url(" not in text.split("</style>")[0]


def test_equal_results_give_equal_pages(make_run):
    one, two = (make_run(folder=folder, weights=True) for folder in ("a", "elsewhere/b"))
    assert page_of(one) == page_of(two)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": 1}, "One seed: no interval and no test"),
        ({"edit": lambda manifest, records: manifest.update(claims=[])}, "The study states no"),
        ({"failed": [(a, s) for a in ("native", "native+dw") for s in range(2)]}, "No trial is"),
    ],
)
def test_a_study_with_little_in_it_has_a_page(make_run, options, says):
    run = make_run(("native", "native+dw"), **{"seeds": 2} | options)
    assert says in Parsed(page_of(run)).text


def test_the_ladder_of_a_study_is_shown(make_run):
    run = make_run()
    effect = {"mean": 0.1, "low": -0.1, "high": None, "n": 3}
    rung = {"scale": "quick", "arms": {"can-3": {"macs": 1e12, "log_effect": effect}}}
    document = {"study": "layer_placement", "metric": "kid", "rungs": [rung]}
    path = run.store.results / "ladder.layer_placement" / "ladder.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    (part,) = Parsed(page_of(run)).data["over"]
    assert part["effect"]["can-3"][0]["mean"] == pytest.approx(10.517, abs=1e-3)
    path.write_text(json.dumps({"study": "layer_placement", "rungs": "x"}))
    assert Parsed(page_of(run)).data["over"] == []


@pytest.mark.full
def test_html_of_the_committed_run_names_what_it_measured():
    from specs import ROOT

    from cabench.records.runs import find_run

    page = page_of(find_run(ROOT / "results" / "reference", "control_methods"))
    data = Parsed(page).data
    assert len(page) < 1_500_000
    assert set(data["viewer"]["near"]) == set(data["arms"]) and data["viewer"]["real"]
    assert len(data["weights"]) == 6 and html.escape("adaln+dw") in page
