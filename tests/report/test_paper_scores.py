"""FID and CLIP score beside a study's own metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cabench.analysis.paper_scores import paper_scores_note, paper_scores_table
from cabench.analysis.tables import to_markdown
from cabench.commands.score import Scored, write_scores
from cabench.evidence.results import Results
from cabench.records.paper_scores import FILE, LEAST, add_paper_scores, read_paper_scores
from cabench.registry import METRICS

INCEPTION, CLIP = {"judges": {"inception-v3-compat": "6726"}}, {"clip": {"weights": "ab12"}}


@pytest.fixture
def scored(make_run):
    """scored(metric, protocol) -> the run after `cabench score` and the scores by trial key."""

    def write(metric, protocol, run=None):
        run = run or make_run(["native+dw", "can-3"])
        keys = [trial.key for trial in run.manifest.trials]
        values = {key: 20.0 + i for i, key in enumerate(keys)}
        write_scores(
            run,
            [metric],
            [
                Scored(k, {metric: v}, {metric: 5.0}, {"n": 5000} | protocol)
                for k, v in values.items()
            ],
        )
        return run, values

    return write


def test_scores_are_kept_for_reports_beside_one_another(scored, capsys):
    run, values = scored("clip_score", CLIP)
    scored("fid_inception", INCEPTION, run)
    scored("kid", {})  # no metric of the paper's tables
    assert json.loads((run.folder / FILE).read_text()).keys() == {"clip_score", "fid_inception"}
    results = Results.of(run)
    table = paper_scores_table(results)
    assert [row.name for row in table.rows] == ["native+dw", "can-3", "real vs real"]
    fid, clip = table.columns
    assert fid.title == "FID @5000 ↓" and clip.title == "CLIP score @5000 ↑"
    of_can = [values[t.key] for t in run.manifest.trials if t.arm == "can-3"]
    assert float(fid.cells[1].text.split()[0]) == pytest.approx(np.mean(of_can))
    assert fid.cells[1].n == len(of_can) and float(fid.cells[2].text) == 5
    note = paper_scores_note(results)
    assert "weights 6726." in note and "weights ab12." in note and "not scored" not in note
    assert fid.title in to_markdown(results)


def test_absent_weights_and_too_few_samples_are_said(scored, make_run):
    run = make_run(["native+dw", "can-3"])
    results = Results.of(run)
    claims = tuple(c.model_copy(update={"paper": "as stated"}) for c in results.manifest.claims)
    stated = replace(results, manifest=results.manifest.model_copy(update={"claims": claims}))
    note = paper_scores_note(stated)
    n = stated.protocols()[0].n
    assert f"FID by Inception: needs 4,096 samples per trial, got {n:,}." in note
    assert f"`cabench score {run.name} --metrics clip_score --clip NAME`" in note
    assert "CLIP score: not scored yet" in note and note in to_markdown(stated).replace("\\", "")
    assert paper_scores_table(stated) is None and paper_scores_note(results) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"floor": float("nan")},
        {"floor": 1e308},
        {"floor": "0.3"},
        {"floor": True},
        {"scores": {"native+dw@0": float("inf")}},
        {"scores": 3},
        {"scores": {"../key": 1.0}},
        {"label": "a\x1b[31m"},
        {"label": "<b>"},
        {"weights": "\ud800"},
        {"scale": -1},
        None,
    ],
)
def test_a_corrupted_file_is_left_out(scored, caplog, change):
    run, _ = scored("clip_score", CLIP)
    path = run.folder / FILE
    content = json.loads(path.read_text())
    spoilt = [] if change is None else {"clip_score": content["clip_score"] | change}
    path.write_text(json.dumps(spoilt))
    assert read_paper_scores(run.folder) == {} and "is corrupted; left out" in caplog.text


def test_other_trials_of_the_same_weights_stay(scored):
    run, values = scored("clip_score", CLIP)
    old = read_paper_scores(run.folder)["clip_score"]
    add_paper_scores(run.folder, {"clip_score": old.model_copy(update={"scores": {"new": 1.0}})})
    assert read_paper_scores(run.folder)["clip_score"].scores == values | {"new": 1.0}
    others = old.model_copy(update={"scores": {"new": 1.0}, "weights": "other"})
    add_paper_scores(run.folder, {"clip_score": others})
    assert read_paper_scores(run.folder)["clip_score"].scores == {"new": 1.0}


def test_exactly_enough_samples_suffice(make_run):
    def edit(manifest, records):
        manifest["claims"][0]["paper"] = "as stated"
        for record in records.values():
            record["protocol"]["n"] = 4096

    results = Results.of(make_run(["native+dw", "can-3"], edit=edit))
    assert "FID by Inception: not scored yet" in paper_scores_note(results)


def test_the_samples_needed_are_those_of_the_metrics():
    assert {name: METRICS.get(name).min_samples for name in LEAST} == LEAST
