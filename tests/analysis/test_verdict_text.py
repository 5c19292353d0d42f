"""Verdicts in words."""

import pytest
from example_study import make_claim

from cabench.analysis import tables
from cabench.analysis.verdict_text import claim_rows, outcome, outcome_of, verdicts_by_metric
from cabench.evidence.verdicts import Verdict
from cabench.records.schema import ManifestClaim


def verdicts(*words, test="superiority", added=False):
    claim = ManifestClaim.model_validate(make_claim("a", "b", test=test, added=added))
    return [Verdict(claim, word) for word in words]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["unresolved"] * 3 + ["not tested"],
            "Of the 3 tested claims, none is supported and 3 are unresolved; 1 not tested.",
        ),
        (
            ["supported", "contradicted", "unresolved"],
            "Of the 3 tested claims, 1 is supported, 1 is contradicted and 1 is unresolved.",
        ),
        (
            ["supported", "supported", "contradicted"],
            "Of the 3 tested claims, 2 are supported and 1 is contradicted.",
        ),
        (["supported"] * 3, "All 3 tested claims are supported."),
        (["supported"] * 2 + ["not tested"], "Both tested claims are supported; 1 not tested."),
        (["contradicted"], "The one tested claim is contradicted."),
        (["not tested"] * 2, "No claim could be tested (2 of 2 not tested)."),
        ([], ""),
    ],
)
def test_the_outcome_is_one_sentence(words, sentence):
    assert outcome(verdicts(*words)) == sentence


def test_counts_and_added_claims_have_sentences_of_their_own():
    counts = verdicts("by construction", "contradicted", "not tested", test="by_construction")
    text = outcome(verdicts("unresolved") + counts + verdicts("supported", added=True))
    assert text == (
        "The one tested claim is unresolved. Counting decides 3 claims about cost: 1 true, "
        "1 false, 1 not counted. The one tested claim added to the study is supported."
    )


def test_an_open_claim_says_where_its_differences_point(study):
    example = study(["native", "native+dw", "can-3"], seeds=4)
    example.manifest["claims"] = [
        make_claim("can-3", "native+dw", id="one"),
        make_claim("can-3", "native+dw", ["kid", "condition_accuracy"], id="both"),
    ]
    for s, shift in enumerate((0.003, -0.002, 0.002, 0.001)):
        for name, sign in (("kid", 1), ("condition_accuracy", 1)):
            base = example.records[f"native+dw@{s}"]["metrics"][name]
            example.records[f"can-3@{s}"]["metrics"][name] = base + sign * shift
    rows = {row.id: row for row in claim_rows(example.results())}
    assert rows["one"].word == rows["both"].word == "unresolved"
    assert rows["one"].verdict == "unresolved, points the other way"
    assert rows["both"].verdict == "unresolved, points the other way in KID"
    assert "| unresolved, points the other way |" in tables.to_markdown(example.results())


def test_one_seed_has_no_test_and_its_table_all_the_same(study):
    results = study(["native", "native+dw", "can-3"], seeds=1).results()
    assert outcome_of(results) == "One seed, no test: 3 claims not tested."
    rows = {row.id: row for row in claim_rows(results)}
    assert rows["C2"].verdict == "one seed, no test" and "n = 1" in rows["C2"].evidence


@pytest.mark.parametrize(
    ("margin", "words"), [(0.01, "p = 1; equivalence: p "), (None, "n = 4, p = 1")]
)
def test_a_p_value_of_equivalence_is_not_that_of_the_difference(study, margin, words):
    example = study(["native", "native+dw", "can-3"], seeds=4)
    example.manifest["claims"] = [make_claim("can-3", "native+dw", id="one")]
    if margin is not None:
        example.manifest["margins"] = {"kid": margin}
    for s, shift in enumerate((0.003, -0.003, 0.002, -0.002)):  # a mean of 0
        base = example.records[f"native+dw@{s}"]["metrics"]["kid"]
        example.records[f"can-3@{s}"]["metrics"]["kid"] = base + shift
    assert words in claim_rows(example.results())[0].evidence


def test_evidence_names_every_metric(study):
    example = study()
    example.manifest["claims"] = [
        make_claim("can-3", "native+dw", ["kid", "condition_accuracy"], id="M"),
        make_claim("can-3", "native+dw", "params", id="F", test="by_construction", ratio=2.5),
        make_claim("can-all", "native+dw", id="X", added=True),
    ]
    results = example.results()
    rows = {row.id: row for row in claim_rows(results)}
    text = rows["M"].evidence
    assert "KID x10^3 @2000 ↓: can-3 - native+dw = " in text and "condition accuracy ↑: " in text
    assert ", largest p " in text and "after Holm" in text
    # 220,000 + 90,000 k parameters, can-3 being arm 8 and native+dw arm 2
    assert rows["F"].evidence == "params: can-3 940K, native+dw 400K, 2.35 times (at most 2.5)"
    assert rows["F"].verdict == "by construction" and "X (added)" in rows
    for shown in (tables.plain(results, 160), tables.to_markdown(results)):
        assert "by construction" in shown and "X (added)" in shown


def test_by_each_metric_a_claim_has_the_difference_and_the_verdict_of_that_metric_alone(study):
    """The study's claim is about KID; the other metric points the other way, clearly."""
    example = study(["native", "native+dw", "can-3"], seeds=4)
    example.manifest["claims"] = [make_claim("can-3", "native+dw", id="one")]
    for s, noise in enumerate((0.0001, -0.0001, 0.0002, -0.0002)):
        for name, shift in (("kid", -0.01), ("condition_accuracy", -0.1)):
            base = example.records[f"native+dw@{s}"]["metrics"][name]
            example.records[f"can-3@{s}"]["metrics"][name] = base + shift + noise
    table = verdicts_by_metric(example.results())
    assert table is not None and [row.name for row in table.rows] == ["one: can-3 - native+dw"]
    columns = {column.title: column.cells[0].text for column in table.columns}
    assert columns["verdict by KID"] == "supported"
    assert columns["verdict by condition accuracy"] == "contradicted"
    differences = [text for title, text in columns.items() if title.startswith("diff. KID")]
    assert differences[0].startswith("-10.00 [")  # in the units of the table, x10^3


def test_without_a_claim_there_is_no_table_by_metric(study):
    example = study(["native", "native+dw", "can-3"], seeds=4)
    example.manifest["claims"] = []
    assert verdicts_by_metric(example.results()) is None
