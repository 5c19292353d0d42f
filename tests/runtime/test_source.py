"""Which code writes a document, and when."""

import re
import subprocess

from cabench.runtime import source


def test_the_day_is_that_of_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert source.today() == "1970-01-02"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", source.today())


def test_the_commit_is_that_of_the_clone(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    package = tmp_path / "cabench"
    assert source.commit(package) == ""  # an archive without history
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    package.mkdir()
    (package / "a.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert source.commit(package) == head.stdout[: source.SHORT]
    (package / "a.py").write_text("2")
    assert source.commit(package).endswith(" with local changes")
