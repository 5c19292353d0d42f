"""The report: its contents, their order, and equal bytes for equal records."""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pypdfium2
import pytest
from cli import cabench
from example_study import make_failed
from specs import some

from cabench.commands.app import app
from cabench.commands.report import show_report
from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.records.runs import Run, find_run
from cabench.records.store import CURVES, SHEET
from cabench.report.report import compile_pdf, write_report
from cabench.runtime import source
from cabench.runtime.files import read_json
from cabench.version import __version__

pytestmark = pytest.mark.slow


def test_the_answer_is_on_the_first_page(make_run, text_of, tmp_path):
    def with_paper(manifest, records):
        manifest["claims"][1]["paper"] = "CAN beats adaptive normalisation"
        manifest["caveat"] = "Small networks only."

    run = make_run(edit=with_paper)
    pages = text_of(write_report(run, tmp_path / "out")[0])
    first = pages[0]
    order = [
        "layer_placement",
        "Which layers should be condition-aware?",
        "Condition-Aware Neural Network for Controlled Image Generation, CVPR 2024",
        f"Report of {source.today()} by cabench {__version__}, commit {source.commit()}",
        "The one tested claim is supported; 2 not tested.",
        "Lowest KID ×10³ @2000 of 3 arms: can-3",
        "to the baseline, native+dw: better; at 1.05 times the MACs",
        "Table 1: Claims",
        "CAN beats adaptive normalisation",
        "Small networks only.",
        "Figure 1:",
        "Table 2: What each arm is",
        "native what native is",
    ]
    places = [first.index(part) for part in order]
    assert places == sorted(places)
    assert "at its scale (not tested): CAN beats adaptive normalisation" in first
    assert "p = .002 after Holm" in first and "native+can-3' is not part of this run" in first

    text = " ".join(pages)
    for part in (
        "Quality against cost",
        "Held-out loss during training",
        "Samples",
        "real vs real",
        "Other guidance",
        "Protocol",
        "AdamW",
        "dpmpp_2m",
        "guidance 1; also sampled at 2",
        "adaln_zero(source timestep + label)",
        "No trial failed.",
        "Assumptions where the paper is silent",
        "cabench run studies/example.yaml --scale quick --seeds 3",
        "torch 2.15.0",
        "EPYC",
        "No figures of generated weights: none were recorded.",
    ):
        assert part in text, part
    assert f"1 / {len(pages)}" in first and "layer_placement · scale quick" in pages[1]


@pytest.mark.parametrize("count", [18, pytest.param(30, marks=pytest.mark.full)])
def test_no_page_but_the_last_is_half_empty(make_run, count):
    more = [f"{'native+can' if i % 2 else 'can-variant'}-{i}" for i in range(count - 3)]
    run = make_run(("native", "native+dw", "can-3", *more), weights=True)
    with pypdfium2.PdfDocument(compile_pdf(Results.of(run, with_curves=True), run.store)) as pdf:
        pages = [np.asarray(page.render(grayscale=True).to_pil()) for page in pdf]
    ends = [_end_of_text(page) for page in pages]
    assert min(ends[:-1]) > 0.6, ends


def _end_of_text(page):
    """Where the last ink of a page is, as a share of its text block's height."""
    top, bottom = (round(len(page) * at / 297) for at in (24, 297 - 22))  # mm, without the footer
    return np.flatnonzero((page[top:bottom] < 250).any(1))[-1] / (bottom - top)


def test_numbers_in_the_report_are_those_of_the_records(make_run, text_of, tmp_path):
    run = make_run()
    records = run.records()
    can, base = (
        [1000 * records[f"{arm}@{s}"].metrics["kid"] for s in range(3)]
        for arm in ("can-3", "native+dw")
    )
    difference = sum(a - b for a, b in zip(can, base, strict=True)) / 3
    page = text_of(write_report(run, tmp_path)[0])[0]
    for number in (f"{sum(can) / 3:.2f}", f"{sum(base) / 3:.2f}", f"−{-difference:.2f} ["):
        assert number in page, number


def test_equal_records_give_equal_bytes_wherever_they_lie(make_run, tmp_path, monkeypatch):
    one, two = make_run(folder="a", weights=True), make_run(folder="elsewhere/b", weights=True)
    first = write_report(one, tmp_path / "x")
    again = write_report(one, tmp_path / "y")
    monkeypatch.chdir(tmp_path)
    other = write_report(two, tmp_path / "z")
    for a, b, c in zip(first, again, other, strict=True):
        assert a.read_bytes() == b.read_bytes() == c.read_bytes(), a.name


def test_another_record_gives_other_bytes(make_run):
    def worse(manifest, records):
        records["can-3@0"]["metrics"]["kid"] *= 1.5

    assert pdf(make_run(folder="a")) != pdf(make_run(folder="b", edit=worse))


def pdf(run):
    return compile_pdf(Results.of(run, with_curves=True), run.store)


HOSTILE = '#panic("x") *bold* _it_ $x$ @ref <label> [link]() = head `raw` \\ // /* {1} "q"'


def test_texts_are_set_and_never_evaluated(make_run, text_of, tmp_path):
    def spoil(manifest, records):
        manifest["question"] = f"Q {HOSTILE}"
        manifest["caveat"] = f"K {HOSTILE}"
        manifest["arms"][0]["about"] = f"A {HOSTILE}"
        manifest["claims"][1] |= {"says": f"S {HOSTILE}", "id": "#c*1"}
        manifest["metrics"]["kid"]["label"] = "#K*D*"
        for seed in range(3):
            records[f"native@{seed}"] = make_failed("native", seed, f"E {HOSTILE}")

    pages = text_of(write_report(make_run(edit=spoil), tmp_path)[0])
    text = " ".join(pages)
    for mark in "QKASE":
        assert f"{mark} {HOSTILE}" in text, mark
    assert "#K*D*" in text and "#c*1" in text


def test_letters_without_a_glyph_do_not_stop_it(make_run, text_of, tmp_path):
    def foreign(manifest, records):
        manifest["question"] = "Größe, déjà vu, 中文, 🙂 — and " + "x" * 300

    page = text_of(write_report(make_run(edit=foreign), tmp_path)[0])[0]
    assert "Größe, déjà vu" in page and page.count("x") >= 300


def test_failed_and_missing_trials_are_reported(make_run, text_of, tmp_path, capsys):
    run = make_run(failed=[("can-3", 1)], missing=[("native", 0), ("native", 2)])
    show_report("layer_placement", None, run.store.results, tmp_path / "out")
    printed = capsys.readouterr().out
    notice = "6 of 9 trials are complete: 1 failed, 2 have not run."
    for part in (notice, "layer_placement.quick.pdf", "no longer exists"):
        assert part in printed, part
    text = " ".join(text_of(tmp_path / "out" / "layer_placement.quick.pdf"))
    for part in (
        notice,
        "failed (1 of 3)",
        "not run (2 of 3)",
        "arm 'can-3' failed at seed 1",
        "can-3 (seed 1): Diverged: loss is not finite",
    ):
        assert part in text, part


def test_no_finished_trial_still_makes_a_report(make_run, text_of, tmp_path):
    run = make_run(failed=[(a, s) for a in ("native", "native+dw", "can-3") for s in range(3)])
    text = " ".join(text_of(write_report(run, tmp_path)[0]))
    assert "No trial is complete: 9 failed." in text and "No forest plot" in text
    assert "native+dw failed (3 of 3)" in text and "No samples recorded." in text


def test_one_seed_has_no_interval(make_run, text_of, tmp_path):
    text = " ".join(text_of(write_report(make_run(seeds=1), tmp_path)[0]))
    assert (
        "One seed: no interval" in text
        and "One seed, no test: 3 claims not tested." in text
        and "±" not in text.split("Scores and cost", 1)[1].split("Quality against cost", 1)[0]
    )


def test_a_study_without_claims(make_run, text_of, tmp_path):
    run = make_run(edit=lambda manifest, records: manifest.update(claims=[]))
    assert "The study states no claims." in text_of(write_report(run, tmp_path)[0])[0]


def test_weights_are_shown_where_they_were_recorded(make_run, text_of, tmp_path):
    text = " ".join(text_of(write_report(make_run(weights=True), tmp_path)[0]))
    assert "Frobenius norms, generated / static" in text and "Effective rank: exp" in text
    assert "No figures of generated weights" not in text


def test_no_record_is_one_line(make_run, tmp_path):
    everything = [(a, s) for a in ("native", "native+dw", "can-3") for s in range(3)]
    run = make_run(missing=everything)
    with pytest.raises(CabenchError, match="layer_placement.quick has no records.*cabench run"):
        write_report(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_csv_has_a_row_per_arm_seed_and_metric(make_run, tmp_path):
    run = make_run(failed=[("can-3", 1)])
    _, long, arms, markdown, *_ = write_report(run, tmp_path)
    actual = pd.read_csv(long)
    one = actual[(actual["arm"] == "native") & (actual["seed"] == 2) & (actual["metric"] == "kid")]
    assert one["value"].item() == pytest.approx(run.records()["native@2"].metrics["kid"])
    assert not actual.duplicated(["arm", "seed", "metric"]).any()
    lost = actual[(actual["arm"] == "can-3") & (actual["seed"] == 1)]
    assert set(lost["status"]) == {"failed"} and lost["value"].isna().all() and len(lost) == 4
    means = pd.read_csv(arms).set_index(["arm", "metric"])
    assert means.loc[("native", "kid"), "mean"] == pytest.approx(
        actual[(actual["arm"] == "native") & (actual["metric"] == "kid")]["value"].mean()
    )
    assert "3 of 3 not tested" in markdown.read_text() and "## Claims" in markdown.read_text()


def test_the_command_names_seeds_that_are_no_count(make_run, text_of, tmp_path):
    run = make_run()
    trials = [t.model_copy(update={"seed": 7}) for t in run.manifest.trials if t.seed == 0]
    update = {"trials": tuple(trials), "seeds": (7,), "scale": "mine", "scale_file": "mine.yaml"}
    run = Run(run.manifest.model_copy(update=update), run.store)
    text = " ".join(text_of(write_report(run, tmp_path)[0]))
    assert "cabench run studies/example.yaml --scale mine.yaml --seeds 7," in text


def test_the_committed_run_has_its_report(text_of, tmp_path):
    from specs import ROOT

    run = find_run(ROOT / "results" / "reference", "layer_placement")
    pages = text_of(write_report(run, tmp_path)[0])
    assert "Of the 4 tested claims, 1 is supported and 3 are unresolved." in pages[0]
    assert "real images" in " ".join(pages)  # the grid of real images was read
    assert min(filled(tmp_path / "layer_placement.quick.pdf")[:-1]) > 0.55  # no half-empty page


def filled(pdf):
    """How far down the page each page is filled, between its header and its footer."""
    shares = []
    with pypdfium2.PdfDocument(pdf) as document:
        for page in document:
            dark = np.asarray(page.render(scale=0.5).to_pil().convert("L")) < 160
            top, bottom = round(0.08 * len(dark)), round(0.93 * len(dark))
            rows = np.flatnonzero(dark[top:bottom].any(axis=1))
            shares.append(rows.max(initial=0) / (bottom - top))
    return shares


def test_the_tables_as_latex_and_quality_against_cost(make_run, tmp_path):
    run = make_run()
    out = ("--out", tmp_path / "out", "--results", run.store.results)
    code, shown, _ = cabench("report", "layer_placement", "--format", "tex", *out)
    (path,) = (tmp_path / "out").iterdir()
    assert code == 0 and str(path) in shown and path.name == "layer_placement.quick.tex"
    assert "can-3 & 3 & " in path.read_text() and r"\bottomrule" in path.read_text()
    code, _, err = cabench("report", "layer_placement", "--format", "word", *out)
    assert code == 2 and "'word' is not one of 'pdf', 'tex'" in err
    written = {path.name for path in write_report(run, tmp_path / "all")}
    assert {f"layer_placement.quick.cost.{end}" for end in ("csv", "png", "svg", "pdf")} <= written


def test_a_figure_half_written_is_never_seen(make_run, tmp_path, monkeypatch):
    from cabench.analysis import figures

    results = Results.of(make_run())
    target = tmp_path / "forest.svg"
    figures.forest(tmp_path / "forest", results)
    before = target.read_bytes()

    def stops(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_bytes", stops)
    with pytest.raises(KeyboardInterrupt):
        figures.forest(tmp_path / "forest", results)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_the_command_needs_neither_torch_nor_ray(make_run, tmp_path):
    run = make_run()
    code = (
        "import sys; from cabench.commands.app import app; "
        f"app(['report', 'layer_placement', '--results', {str(run.store.results)!r}, "
        f"'--out', {str(tmp_path)!r}], standalone_mode=False); "
        "print(sorted({'torch', 'ray', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert (tmp_path / "layer_placement.quick.pdf").read_bytes().startswith(b"%PDF")
    assert "report" in {command.callback.__name__ for command in app.registered_commands}
    assert read_json(run.folder / "manifest.json")["study"] == "layer_placement"


@pytest.mark.parametrize("suffix", some([CURVES, SHEET], [SHEET]))
def test_a_corrupted_file_beside_a_record_is_reported_and_not_drawn(make_run, tmp_path, suffix):
    run = make_run(weights=True)
    intact = pdf(run)
    victim = run.store.beside("can-3@0", suffix)
    content = victim.read_bytes()
    victim.write_bytes(content.replace(b"0.3", b"0.9") if suffix == CURVES else content[:-30])
    out = ("--out", tmp_path / "out", "--results", run.store.results)
    code, _, err = cabench("report", "layer_placement", *out)
    assert code == 0
    assert err == f"cabench: {victim} is corrupted; `cabench run` regenerates it\n"
    without = (tmp_path / "out" / "layer_placement.quick.pdf").read_bytes()
    victim.unlink()
    assert without == pdf(run) != intact


def test_a_corrupted_grid_of_real_images_is_reported_and_left_out(make_run, tmp_path):
    run = make_run()
    without = pdf(run)
    fingerprint = run.records()["can-3@0"].spec.train.data.fingerprint
    path = run.store.beside(f"data-{fingerprint[:16]}", SHEET)
    path.write_bytes(b"half an image")
    out = ("--out", tmp_path / "out", "--results", run.store.results)
    code, _, err = cabench("report", "layer_placement", *out)
    assert code == 0 and err.startswith(f"cabench: {path} is corrupted") and err.count("\n") == 1
    assert (tmp_path / "out" / "layer_placement.quick.pdf").read_bytes() == without


def test_a_pdf_without_typst_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    monkeypatch.delitem(sys.modules, "cabench.report.typeset", raising=False)
    with pytest.raises(CabenchError, match=r"^PDFs need the library 'typst': pip install"):
        import_module("cabench.report.typeset")
