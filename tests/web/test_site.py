"""The site of a results directory: its pages, their links, and the leaderboard's numbers."""

from __future__ import annotations

import pytest
from cli import cabench
from webpages import Parsed

from cabench.analysis.summary import Cell, summary
from cabench.analysis.verdict_text import outcome_of
from cabench.errors import CabenchError
from cabench.evidence.ranks import Ranking
from cabench.evidence.results import Results
from cabench.report.document import typeset
from cabench.web.cells import table_cell
from cabench.web.leaderboard import Study, file_of, percent
from cabench.web.site import Site


@pytest.fixture
def two_runs(make_run):
    """Two studies in one results directory."""

    def other(manifest, records):
        manifest |= {"study": "second", "question": "<b>Second?</b>"}
        manifest["trials"] = [t | {"key": f"x{t['key']}"} for t in manifest["trials"]]
        for record in records.values():
            record["key"] = f"x{record['key']}"

    def rekeyed(manifest, records):
        other(manifest, records)
        for key in list(records):
            records[f"x{key}"] = records.pop(key)

    return [make_run(), make_run(("native", "native+dw"), edit=rekeyed, weights=False)]


def test_the_site_has_a_page_per_study_and_method_and_its_links_resolve(two_runs, tmp_path):
    code, out, err = cabench("site", tmp_path / "site", "--results", two_runs[0].store.results)
    assert code == 0 and not err and out.startswith("6 pages in ")
    pages = {path.name: Parsed(path.read_text()) for path in (tmp_path / "site").iterdir()}
    assert set(pages) == {
        "index.html",
        "leaderboard.html",
        "layer_placement.quick.html",
        "second.quick.html",
        "method.adaln_zero.html",
        "method.can.html",
    }
    for name, page in pages.items():
        for tag, attributes in page.elements:
            address = attributes.get("href", "#") if tag == "a" else "#"
            assert address.startswith("#") or address in pages, (name, address)
    assert outcome_of(Results.of(two_runs[0])) in pages["index.html"].text
    assert "<b>Second?</b>" in pages["index.html"].text


def test_the_leaderboard_has_ranks_probabilities_and_cost(two_runs):
    run = two_runs[0]
    study = Study(run, Results.of(run))
    page = Parsed(Site.of(two_runs).pages()["leaderboard.html"])
    ranking = Ranking(study.results, "kid")
    for rank in ranking.ranks:
        text = f"{rank.place} [{rank.best}, {rank.worst}] of {len(ranking.arms)}"
        assert text in page.text, rank
    (entry,) = [e for e in study.entries if e.arm == "can-3"]
    costs = study.results.costs
    assert entry.costs["macs"] == pytest.approx(costs["can-3"].macs / costs["native+dw"].macs)
    assert entry.costs["time"] > 1  # a slower arm takes longer
    assert percent(entry.probability)["text"] in page.text
    assert (entry.method, entry.backbone, entry.data) == ("can", "dit", "fashion16")
    assert [e.word for e in study.entries] == ["not tested", "baseline", word(study)]


def test_the_leaderboard_has_the_intervals_of_the_study_page(make_run):
    run = make_run(("native", "native+dw", "can-3"))
    pages = {name: Parsed(page).text for name, page in Site.of([run]).pages().items()}
    joint, own = (summary(Results.of(run), jointly).columns[1].cells[2].text for jointly in (1, 0))
    assert typeset(joint) in pages[f"{run.name}.html"]
    for name in ("leaderboard.html", "method.can.html"):
        assert typeset(joint) in pages[name] and typeset(own) not in pages[name], name


def word(study):
    row = study.results.compare_arms(["kid"])[2]
    if row.p_holm >= 0.05:
        return "unresolved"
    return "better" if row.difference.mean < 0 else "worse"


def test_a_results_directory_without_records_is_one_line(make_run, tmp_path):
    run = make_run(
        ("native", "native+dw"), missing=[(a, s) for a in ("native", "native+dw") for s in range(3)]
    )
    with pytest.raises(CabenchError, match="no run with records"):
        Site.of([run])
    code, _, err = cabench("site", tmp_path / "site", "--results", tmp_path / "nothing")
    assert code == 2 and err.count("\n") == 1 and "no runs in" in err


def test_a_kind_that_is_no_name_has_a_file_in_the_site():
    assert file_of("can") == "method.can.html"
    assert "/" not in file_of("../../evil") and file_of("../../evil").startswith("method.")


@pytest.mark.parametrize(
    ("share", "text", "shade"),
    [(0.5, "50", 2), (0.999, "> 99", 4), (1.0, "100", 4), (0.001, "< 1", 0), (0.3, "30", 1)],
)
def test_probabilities_are_not_rounded_to_certainty(share, text, shade):
    assert (percent(share)["text"], percent(share)["shade"]) == (text, shade)


@pytest.mark.parametrize(
    ("text", "key"), [("1.2e-05 ± 0.1e-05", "1.2e-05"), ("-1,234.5 [-2, 0]", "-1234.5"), ("-", "")]
)
def test_a_cell_is_sorted_by_its_first_number(text, key):
    assert table_cell(Cell(text, 3))["key"] == key
