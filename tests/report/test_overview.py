"""The overview of all runs: the paper's claims, a figure for each, and further claims."""

import pytest
from cli import cabench
from example_study import make_claim

from cabench.analysis.figures import PAGE, claim
from cabench.evidence.claims import claims_ledger
from cabench.evidence.results import Results
from cabench.report.overview import overview_pdf, write_overview

pytestmark = pytest.mark.slow


def with_paper(manifest, records):
    manifest["claims"][0] |= {"paper": "a subset | of layers is better"}


@pytest.fixture
def run(make_run):
    return make_run(edit=with_paper)


def test_every_claim_is_in_the_overview_once_with_its_verdict(run, text_of, tmp_path):
    pdf, markdown = write_overview([run], tmp_path)
    text = " ".join(text_of(pdf))
    results = Results.of(run)
    first, *others = results.verdicts
    assert "Claims of the CAN paper" in text and "a subset | of layers is better" in text
    assert f"{first.claim.id}: {first.claim.says}" in text and run.name in text
    page = markdown.read_text()
    assert "a subset \\| of layers is better | not tested |" in page
    for verdict in others:
        assert f"| {verdict.claim.id} |" in page.split("# Further claims")[1]


def test_verdicts_over_size_have_their_claim_run_and_macs(make_run, text_of, tmp_path):
    def home(manifest, records):
        manifest["claims"] = [make_claim("can-3", "native+dw", id="C2", paper="it is better")]

    def ladder(manifest, records):
        claim = make_claim("can-3", "native+dw", id="S1", repeats="layer_placement.C2")
        manifest |= {"study": "ladder", "scale": "size-3", "claims": [claim]}
        for record in records.values():
            record["spec"]["images"] *= 4

    runs = [make_run(edit=home), make_run(edit=ladder, folder="b")]
    pdf, markdown = write_overview(runs, tmp_path)
    page, text = markdown.read_text(), " ".join(text_of(pdf))
    assert "| S1 of ladder.size-3, 6.6 × 10¹² MACs: " in page
    assert "S1 of ladder.size-3, 6.6 × 10¹² MACs: " in text
    assert "scale and training MACs of the baseline" in text
    for note in (page, text):
        assert "corrected over the claims of their own run" in note


def test_equal_records_give_equal_bytes(run):
    named = [(run.name, Results.of(run))]
    ledger = claims_ledger(named)
    assert overview_pdf(named, ledger) == overview_pdf(named, ledger)


def test_the_figure_is_left_out_without_a_spread(make_run, tmp_path):
    run = make_run(edit=with_paper, seeds=1)
    (entry,) = claims_ledger([(run.name, Results.of(run))]).primary
    assert claim(tmp_path / "claim", entry, PAGE) == []
    write_overview([run], tmp_path)


def test_the_command_writes_all_reports_or_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = str(run.store.results)
    code, out, _ = cabench("report", "--all", "--results", results, "--out", "r")
    assert code == 0 and "r/overview.pdf" in out and f"r/{run.name}.pdf" in out
    for words in ([], [run.name, "--all"]):
        code, _, err = cabench("report", *words, "--results", results)
        assert code == 2 and "expected the name of a study, or --all" in err
    code, _, err = cabench("report", "--all", "--results", "nowhere")
    assert code == 2 and "no runs in nowhere" in err
