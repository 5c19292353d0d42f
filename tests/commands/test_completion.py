"""Completion by the protocol that the shells speak: environment in, words out."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from rundir import MANIFEST, REFERENCE, reference, write_run
from specs import ROOT, write

from cabench.commands.completion import COLON, join_colons, quietly

CABENCH = "import sys; sys.argv = ['cabench']; from cabench.commands.entry import main; main()"


def complete(*words: str, shell: str = "bash", cwd=ROOT) -> list[str]:
    """What the shell is offered for the last of the words."""
    line = " ".join(["cabench", *words])
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    if shell == "fish":
        variables = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environ = os.environ | variables | {"_CABENCH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", CABENCH], env=environ, cwd=cwd, capture_output=True, text=True
    )
    assert not done.stderr
    return done.stdout.split()


THERE = ("--results", str(REFERENCE))
ARMS = {trial["arm"] for trial in json.loads(MANIFEST.read_text())["trials"]}


def test_verbs_and_options():
    assert {"run", "status", "compare", "log"} <= set(complete(""))
    assert complete("compare", "--res") == ["--results"]


STUDIES = ROOT / "studies"


def test_studies_and_scales(tmp_path):
    names = sorted(p.stem for p in STUDIES.glob("*.yaml"))
    assert complete("run", "") == names and complete("run", "lay") == ["layer_placement"]
    assert complete("run", "studies/lay") == ["studies/layer_placement.yaml"]
    scales = ["cpu", "gpu", "gpu-quick", "guided", "long"]
    scales += ["paper", "paper-coco", "quick", "short", "size-1", "size-3", "size-4", "smoke"]
    assert complete("run", "--scale", "") == scales
    assert complete("run", "--scale", "q") == ["quick"]
    write(tmp_path / "mine.yaml", "study: mine")
    assert complete("run", "", cwd=tmp_path) == sorted([*names, "mine.yaml"])
    assert complete("run", "x", "--scale", "m", cwd=tmp_path) == ["mine.yaml"]
    assert complete("run", "[", cwd=tmp_path) == []


def test_runs_and_their_scales(tmp_path):
    assert complete("log", *THERE, "l") == ["layer_placement"]
    assert complete("log", *THERE, "layer_placement", "--scale", "") == ["quick"]
    manifest, _ = reference()
    write_run(tmp_path / "results", manifest, {})
    write_run(tmp_path / "results", manifest | {"scale": "cpu"}, {})
    names = ["layer_placement", "layer_placement.cpu", "layer_placement.quick"]
    assert complete("compare", "", cwd=tmp_path) == names


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_targets_with_a_folder(shell):
    ours = os.path.relpath(REFERENCE, ROOT)
    assert complete("compare", f"{ours}/l", shell=shell) == [f"{ours}/layer_placement"]
    assert complete("compare", f"{ours}/layer_placement.q", shell=shell) == [
        f"{ours}/layer_placement.quick"
    ]


def test_arms_in_a_shell_that_leaves_words_whole():
    completions = complete("compare", *THERE, "layer_placement:", shell="fish")
    assert set(completions) == {f"layer_placement:{arm}" for arm in ARMS}
    completions = complete(
        "compare", *THERE, "layer_placement:can-3", "layer_placement.quick:native+dw-", shell="fish"
    )
    assert completions == ["layer_placement.quick:native+dw-wide"]


def test_arms_in_bash_which_cuts_words_at_colons():
    assert set(complete("compare", *THERE, "layer_placement", ":")) == ARMS
    first = ("layer_placement", ":", "can-3")
    assert complete("compare", *THERE, *first, "layer_placement.quick", ":", "native+dw-") == [
        "native+dw-wide"
    ]
    assert complete("compare", *THERE, *first, "lay") == ["layer_placement"]


@pytest.mark.parametrize(
    ("words", "at", "joined", "now", "before"),
    [
        ("cabench compare s : a", 4, "cabench compare a", 2, "s:"),
        ("cabench compare s :", 3, "cabench compare ", 2, "s:"),
        ("cabench compare s : a ", 5, "cabench compare s:a ", 3, ""),
        ("cabench compare s : a t : b", 7, "cabench compare s:a b", 3, "t:"),
        ("cabench run ", 2, "cabench run ", 2, ""),
        ("cabench ru x", 1, "cabench ru", 1, ""),  # the cursor stands in the middle of the line
    ],
)
def test_colons_are_joined(words, at, joined, now, before):
    environ = {"_CABENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    join_colons(environ)
    assert (environ["COMP_WORDS"], environ["COMP_CWORD"], environ[COLON]) == (
        joined,
        str(now),
        before,
    )


def test_other_shells_are_left_alone():
    environ = {"_CABENCH_COMPLETE": "complete_zsh", "COMP_WORDS": "a : b"}
    join_colons(environ)
    assert environ == {"_CABENCH_COMPLETE": "complete_zsh", "COMP_WORDS": "a : b"}


def test_a_fault_completes_nothing(tmp_path):
    (tmp_path / "results" / "s.quick").mkdir(parents=True)
    write(tmp_path / "results" / "s.quick" / "manifest.json", "{broken")
    assert complete("compare", "", cwd=tmp_path) == []
    assert complete("compare", "nowhere/", cwd=tmp_path) == []
    assert complete("compare", "gone", ":", cwd=tmp_path) == []

    @quietly
    def broken(ctx, incomplete):
        raise RuntimeError

    assert broken(None, "") == []


def test_completing_imports_nothing_heavy():
    script = (
        "import os, sys; sys.argv = ['cabench']\n"
        f"os.environ.update(_CABENCH_COMPLETE='complete_bash', COMP_CWORD='4', COMP_WORDS="
        f"'cabench compare --results {REFERENCE} layer_placement')\n"
        "from cabench.commands.entry import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "bad = {'torch', 'ray', 'pandas', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["layer_placement"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_takes_the_script(tmp_path):
    """The script that --show-completion prints, sourced by bash, fills COMPREPLY."""
    program = tmp_path / "cabench"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{CABENCH}"\n')
    program.chmod(0o755)
    script = f"""
        source <(_CABENCH_COMPLETE=source_bash {program})
        COMP_WORDS=(cabench compare --results {REFERENCE} layer_placement : can-d)
        COMP_CWORD=6
        _cabench_completion {program}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["can-dw", "can-dw-pe"], done.stderr
