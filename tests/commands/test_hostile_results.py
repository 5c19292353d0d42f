"""No command runs code that a results directory names, or writes outside the places it is given.

A results directory may come from a stranger. Its manifest is edited in ways that name code, other
files or paths that lead out of the directory; then every command that reads it runs on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings

import pytest
import typer
from cli import cabench
from specs import some

import cabench as package
from cabench.errors import CabenchError
from cabench.plugins import load_plugins, read_plugins

pytestmark = pytest.mark.slow

CODE = "from pathlib import Path\n\nPath({marker!r}).touch()\n"
YAML = '!!python/object/apply:os.system ["touch {marker}"]\n'
COMMANDS = {
    "status": ("status",),
    "compare": ("compare", "tiny:native+dw", "tiny:can-3"),
    "log": ("log", "tiny", "tensorboard", "events"),
    "entry": ("entry", "tiny:can-3", "entry"),
    "sample": ("sample", "tiny:can-3", "-n", "1"),
    "export": ("export", "tiny:can-3", "exported"),
    "report": ("report", "tiny", "--out", "reports"),
    "site": ("site", "site"),
    "score": ("score", "tiny", "--metrics", "kid,precision_lite0"),
    "run": ("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local"),
}
RUNNING = {"run", "try", "ladder"}  # they read manifests in the same function
SERVING = {"serve"}  # draws the pages of `site`; tests/web sends it hostile requests


def first(entries, **changes):
    """The list with changes in its first entry."""
    return [entries[0] | changes, *entries[1:]]


EDITS = {
    "nothing": lambda m, root: {},
    "plugin": lambda m, root: {
        "plugins": [
            {
                "path": str(root / "evil.py"),
                "sha256": hashlib.sha256((root / "evil.py").read_bytes()).hexdigest(),
            }
        ]
    },
    "study file is code": lambda m, root: {"study_file": str(root / "evil.py")},
    "study file is hostile YAML": lambda m, root: {"study_file": str(root / "evil.yaml")},
    "scale file is code": lambda m, root: {"scale_file": str(root / "evil.py")},
    "scale file is hostile YAML": lambda m, root: {"scale_file": str(root / "evil.yaml")},
    "study leads out": lambda m, root: {"study": "../../outside"},
    "scale leads out": lambda m, root: {"scale": "x/../../../outside"},
    "arm leads out": lambda m, root: {"arms": first(m["arms"], name="../../outside")},
    "key leads out": lambda m, root: {"trials": first(m["trials"], key="../../outside")},
    "backbone is a path": lambda m, root: {"backbone": str(root / "evil.py")},
    "metric is code": lambda m, root: {"primary": "__import__('evil')"},
    "label is a format": lambda m, root: {
        "metrics": m["metrics"] | {"kid": m["metrics"]["kid"] | {"label": "{0.__class__}[red]#x"}}
    },
    "another format": lambda m, root: {"format": 99},
}


@pytest.fixture
def inner(tiny, undisturbed):
    """A finished run in tiny/inner, with hostile files beside it in tiny."""
    root = tiny / "inner"
    shutil.copytree(undisturbed.root, root)
    marker = str(tiny / "marker")
    (tiny / "evil.py").write_text(CODE.format(marker=marker))
    (tiny / "evil.yaml").write_text(YAML.format(marker=marker))
    return root


def outside(tiny):
    """The files in tiny that are not in its run."""
    return {path for path in tiny.rglob("*") if not path.is_relative_to(tiny / "inner")}


STANDARD = ("nothing", "plugin", "study file is hostile YAML", "key leads out", "metric is code")


@pytest.mark.parametrize("name", some(EDITS, STANDARD))
def test_a_hostile_manifest_runs_no_code_and_leads_nowhere(name, inner, tiny, monkeypatch):
    monkeypatch.chdir(inner)
    path = inner / "results" / "tiny.tiny" / "manifest.json"
    content = json.loads(path.read_text())
    hostile = json.dumps(content | EDITS[name](content, tiny))
    files = outside(tiny)
    for command, words in COMMANDS.items():
        path.write_text(hostile)
        code, _, err = cabench(*words)
        assert code in (0, 1, 2), command
        assert "Traceback" not in err and not (tiny / "marker").exists(), command
        if name == "nothing":
            assert code == 0, (command, err)
    path.write_text(hostile)
    for load in (package.load, package.load_curves, package.load_weights):
        with contextlib.suppress(CabenchError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the study file has changed
            load("tiny")
    assert not (tiny / "marker").exists()
    assert outside(tiny) == files


def test_the_hostile_code_would_leave_its_mark(inner, tiny):
    """The test above can fail: the same file, given by --plugin, does run."""
    with pytest.raises(CabenchError, match="registers nothing"):
        load_plugins(tuple(read_plugins((tiny / "evil.py",))))
    assert (tiny / "marker").exists()


def test_every_command_that_reads_results_is_tested():
    from cabench.commands.app import app

    commands = typer.main.get_command(app).commands
    reading = {n for n, c in commands.items() if any(p.name == "results" for p in c.params)}
    assert reading == set(COMMANDS) | RUNNING | SERVING
