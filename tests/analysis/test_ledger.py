"""Claims in words."""

import pytest

from cabench.analysis import tables
from cabench.analysis.ledger import ledger, outcome


def rows(*verdicts, test="superiority", added=False):
    return [{"verdict": verdict, "test": test, "added": added} for verdict in verdicts]


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        (
            ["unresolved"] * 3 + ["not tested"],
            "None of the 3 tested claims is supported: 3 unresolved; 1 not tested.",
        ),
        (
            ["supported", "contradicted", "unresolved"],
            "1 of the 3 tested claims is supported: 1 contradicted, 1 unresolved.",
        ),
        (
            ["supported", "supported", "contradicted"],
            "2 of the 3 tested claims are supported: 1 contradicted.",
        ),
        (["supported"] * 3, "All 3 tested claims are supported."),
        (["supported"] * 2 + ["not tested"], "Both tested claims are supported; 1 not tested."),
        (["contradicted"], "The one tested claim is contradicted."),
        (["not tested"] * 2, "No claim could be tested (2 of 2 not tested)."),
        ([], ""),
    ],
)
def test_the_outcome_is_one_sentence(verdicts, sentence):
    assert outcome(rows(*verdicts)) == sentence


def test_facts_and_added_claims_have_sentences_of_their_own():
    facts = rows("by construction", "contradicted", "not tested", test="by_construction")
    found = outcome(rows("unresolved") + facts + rows("supported", added=True))
    assert found == (
        "The one tested claim is unresolved. Counting decides 3 claims about cost: 1 true, "
        "1 false, 1 not counted. The one tested claim added to the study is supported."
    )


def test_evidence_names_every_metric(study):
    manifest, records, _ = study()
    manifest["claims"] = [
        {
            "id": "M",
            "says": "both",
            "better": "can-3",
            "than": "native+dw",
            "metric": ["kid", "condition_accuracy"],
            "test": "superiority",
        },
        {
            "id": "F",
            "says": "cheap",
            "better": "can-3",
            "than": "native+dw",
            "metric": "params",
            "test": "by_construction",
            "ratio": 2.5,
        },
        {
            "id": "X",
            "says": "mine",
            "better": "can-all",
            "than": "native+dw",
            "metric": "kid",
            "test": "superiority",
            "added": True,
        },
    ]
    found = ledger(manifest, records).set_index("id")
    text = found.loc["M", "evidence"]
    assert "KID x10^3 @2000 ↓: can-3 - native+dw = " in text and "condition accuracy ↑: " in text
    assert ", largest p " in text and "after Holm" in text
    # 220,000 + 90,000 k parameters, can-3 being arm 8 and native+dw arm 2
    assert found.loc["F", "evidence"] == (
        "params: can-3 940K, native+dw 400K, 2.35 times (at most 2.5)"
    )
    assert found.loc["F", "verdict"] == "by construction" and "X (added)" in found.index
    for shown in (tables.plain(manifest, records, 160), tables.to_markdown(manifest, records)):
        assert "by construction" in shown and "X (added)" in shown
