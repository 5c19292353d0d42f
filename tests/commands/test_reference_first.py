"""`cabench run` shows the committed run of its study before its own trials."""

import pytest
from specs import ROOT

from cabench.commands import run as command
from cabench.config.seeds import understood
from cabench.execution.run import Options
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
