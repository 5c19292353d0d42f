"""`cabench run` shows the committed run of its study first, and ends with what to do next."""

import pytest
from rundir import reference, write_run
from specs import ROOT

from cabench.commands import run as command
from cabench.config.seeds import understood
from cabench.evidence.results import Results
from cabench.execution.run import Options
from cabench.records.runs import find_run
from cabench.records.store import REFERENCE

STUDY = ROOT / "studies" / "layer_placement.yaml"


@pytest.fixture
def unexecuted(monkeypatch):
    """The run ends where its trials would start."""

    class Executed(Exception):
        pass

    def execute(prepared):
        raise Executed

    monkeypatch.setattr(command, "execute", execute)
    monkeypatch.chdir(ROOT)
    return Executed


def shown(capsys, unexecuted, tmp_path, study=STUDY, **options):
    with pytest.raises(unexecuted):
        command.run_study(study, Options(results=tmp_path, cache=tmp_path, **options))
    return capsys.readouterr().out


def test_a_run_shows_the_committed_one_first(capsys, unexecuted, tmp_path):
    text = shown(capsys, unexecuted, tmp_path)
    assert text.index(f"the committed run, {REFERENCE}") < text.index("native+can-3")
    assert text.rstrip("─\n ").endswith("this run")


def test_a_run_that_counts_it_as_done_does_not(capsys, unexecuted, tmp_path):
    text = shown(capsys, unexecuted, tmp_path, use_reference=True, seeds="4")
    assert text == understood("4") + "\n"


def test_another_backbone_or_scale_has_none(capsys, unexecuted, tmp_path):
    assert shown(capsys, unexecuted, tmp_path, scale="smoke") == ""
    assert shown(capsys, unexecuted, tmp_path, study=ROOT / "studies" / "methods.yaml") == ""


def test_a_run_ends_with_its_verdicts_and_the_next_command(tmp_path):
    run = find_run(ROOT / REFERENCE, "layer_placement")
    lines = command.closing(Results.of(run), run)
    assert any(line.startswith("  C1b: unresolved on 6 seeds; with this mean") for line in lines)
    assert lines[-3:] == [
        "",
        "Next:",
        f"  cabench report layer_placement --results {ROOT / REFERENCE}",
    ]
    few = find_run(write_run(tmp_path, *reference()), "layer_placement")
    for until_resolved, how in ((False, "with --until-resolved"), (True, "again")):
        last = command.closing(Results.of(few), few, until_resolved)[-1]
        assert last == f"  the same command {how}, which adds seeds to open claims"
