"""`cabench init` writes files that work, and never overwrites."""

from pathlib import Path

import pytest
from cli import cabench
from specs import ROOT
from test_docs import problem

from cabench.commands.init import FILES, NEXT
from cabench.execution.run import Options, prepare


def test_the_files_are_copied_and_form_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cabench("init", "a/b")
    assert code == 0 and "  cd a/b\n" in out
    assert all(f"  {command}\n" in out and problem(command) is None for command in NEXT)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for name in FILES:
        assert (ROOT / "examples" / name).read_text() == Path(name).read_text()
    options = Options(scale="small.yaml", plugins=(Path("gated_kernels.py"),), device="cpu")
    planned = prepare(Path("first_study.yaml"), options)
    assert len(planned.remaining.trials) == 6 and planned.plan.scale.training.images == 9000


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    code, out, err = cabench("init")
    assert (code, out) == (2, "") and f"{name}: exists already; nothing was written" in err
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
